//! The answer, as JSON and as lines for people.

use std::fmt::Write;

use serde::Serialize;

/// What becomes of a packet, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The packet.
    pub packet: String,
    /// The node that it meets.
    pub node: String,
    /// The node's mode.
    pub mode: &'static str,
    /// What was decided, in this order.
    pub decisions: Vec<Decision>,
    /// What becomes of it.
    pub outcome: Outcome,
    /// The endpoints that it may reach.
    pub endpoints: Vec<Used>,
    /// The Service's endpoints that it cannot reach.
    pub unused: Vec<Unused>,
    /// What takes the packet there, in the mode's own notation.
    pub rules: Vec<String>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It goes to one of the endpoints.
    Endpoint,
    /// It is refused at once.
    Reject,
    /// Nobody answers.
    Drop,
    /// It goes on as if there were no Services.
    Untouched,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Who says so: `Service default/web`, `EndpointSlice`, `Node node-1`, `proxy-agent`.
    pub object: String,
    /// The object's field; empty where it is none.
    pub field: String,
    /// The field's value.
    pub value: String,
    /// What follows.
    pub says: String,
}

/// An endpoint that may be reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Used {
    /// `ADDRESS:PORT`
    pub address: String,
    /// Of a client that is not remembered.
    pub probability: f64,
    /// Whether it sees this node's address instead of the client's.
    pub masquerade: bool,
    /// Why, or why not.
    pub because: String,
}

/// An endpoint that cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unused {
    /// `ADDRESS:PORT`
    pub address: String,
    /// The field that says so.
    pub field: String,
    /// Why not.
    pub because: String,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Endpoint => "goes to an endpoint",
            Outcome::Reject => "refused",
            Outcome::Drop => "dropped",
            Outcome::Untouched => "left alone",
        }
    }
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} on {} ({})", self.packet, self.node, self.mode)?;
        for decision in &self.decisions {
            writeln!(f, "  {decision}")?;
        }
        writeln!(f, "{}", self.outcome.as_str())?;
        for endpoint in &self.endpoints {
            let whose = if endpoint.masquerade { "masquerade" } else { "own source" };
            writeln!(
                f,
                "  {} {:.1}%, {whose}: {}",
                endpoint.address,
                endpoint.probability * 100.0,
                endpoint.because
            )?;
        }
        for endpoint in &self.unused {
            writeln!(f, "  not {}: {} ({})", endpoint.address, endpoint.because, endpoint.field)?;
        }
        if !self.rules.is_empty() {
            writeln!(f, "by")?;
        }
        for rule in &self.rules {
            writeln!(f, "  {rule}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut whence = self.object.clone();
        if !self.field.is_empty() {
            let _ = write!(whence, " {}", self.field);
        }
        if !self.value.is_empty() {
            let _ = write!(whence, " = {}", self.value);
        }
        write!(f, "{whence}: {}", self.says)
    }
}
