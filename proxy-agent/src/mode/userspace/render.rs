//! The table of listeners as text for people.

use std::fmt::Write;

use super::plan::{Lead, ListenerTable, Portal};
use crate::catalog::Catalog;
use crate::routes::{Destination, Target};
use crate::settings::Settings;

/// Every listener with its endpoints and the destinations that lead to it, then what is
/// refused and what is dropped.
pub fn render(settings: &Settings, catalog: &Catalog) -> String {
    render_table(settings, &ListenerTable::of(catalog, settings.family))
}

fn render_table(settings: &Settings, table: &ListenerTable) -> String {
    let mut text = format!("userspace {}\n", settings.family);
    for (name, listener) in table.listeners() {
        let _ = write!(text, "listener {name}");
        if let Some(affinity) = listener.backends.affinity {
            let _ = write!(text, ", a client stays for {} s", affinity.timeout_seconds);
        }
        let targets: Vec<String> =
            listener.backends.targets.iter().map(Target::to_string).collect();
        let _ = writeln!(text, "\n  in turn: {}", targets.join(" "));
        let lead = Lead::To(name.clone());
        for destination in &listener.destinations {
            if let Some(portal) = table.portal(destination) {
                push(&mut text, destination, portal, &lead);
            }
        }
    }
    for (title, lead) in [("reject", Lead::Reject), ("drop", Lead::Drop)] {
        let mut lines = String::new();
        for (destination, portal) in table.portals() {
            push(&mut lines, destination, portal, &lead);
        }
        if !lines.is_empty() {
            let _ = write!(text, "{title}\n{lines}");
        }
    }
    text
}

/// One line for a destination whose packets, or some of them, go this way.
fn push(text: &mut String, destination: &Destination, portal: &Portal, lead: &Lead) {
    let inside = portal.inside == *lead;
    let outside = portal.outside.as_ref().unwrap_or(&portal.inside) == lead;
    let whence = match (inside, outside) {
        (true, true) => "",
        (true, false) => " from inside",
        (false, true) => " from outside",
        (false, false) => return,
    };
    let _ = write!(text, "  {}{whence}", show_destination(destination));
    if let Some(sources) = &portal.allowed_sources {
        let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
        let _ = write!(text, " only from {}", sources.join(" "));
    }
    let _ = writeln!(text, " ({})", portal.port.service);
}

fn show_destination(destination: &Destination) -> String {
    match destination {
        Destination::Address { address, protocol, port } => {
            format!("{}/{protocol}", std::net::SocketAddr::new(*address, *port))
        }
        Destination::NodePort { protocol, port, .. } => format!("node port {port}/{protocol}"),
    }
}
