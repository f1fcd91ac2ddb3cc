//! Rules of probes and lifecycle handlers.
//!
//! Never runs one.

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};

use crate::{
    check::Checks,
    field::{FieldError, Path},
    names,
};

/// Every violated rule of a container's probes and handlers.
pub fn validate(checks: &mut Checks, path: &Path, container: &Container) {
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (field, probe) in probes {
        let Some(probe) = probe else { continue };
        let path = path.child(field);
        validate_probe(checks, &path, probe);
        let successes = probe.success_threshold.unwrap_or(1);
        let once = field == "readinessProbe" || successes == 1;
        checks.holds(once, &path.child("successThreshold"), &successes, "must be 1");
    }
    let Some(lifecycle) = &container.lifecycle else {
        return;
    };
    let path = path.child("lifecycle");
    for (field, handler) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)]
    {
        if let Some(handler) = handler {
            validate_handler(checks, &path.child(field), handler);
        }
    }
}

fn validate_probe(checks: &mut Checks, path: &Path, probe: &Probe) {
    let numbers = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (field, number) in numbers {
        checks.non_negative(&path.child(field), number.map(i64::from));
    }
    if let Some(seconds) = probe.termination_grace_period_seconds {
        let path = path.child("terminationGracePeriodSeconds");
        checks.holds(seconds > 0, &path, &seconds, "must be greater than 0");
    }
    if let Some(grpc) = &probe.grpc {
        checks.port(&path.child("grpc").child("port"), grpc.port);
    }
    let handlers = Handlers {
        exec: probe.exec.as_ref(),
        http: probe.http_get.as_ref(),
        tcp: probe.tcp_socket.as_ref(),
        other: probe.grpc.as_ref().map(|_| "grpc"),
    };
    handlers.validate(checks, path);
}

fn validate_handler(checks: &mut Checks, path: &Path, handler: &LifecycleHandler) {
    if let Some(sleep) = &handler.sleep {
        checks.non_negative(&path.child("sleep").child("seconds"), Some(sleep.seconds));
    }
    let handlers = Handlers {
        exec: handler.exec.as_ref(),
        http: handler.http_get.as_ref(),
        tcp: handler.tcp_socket.as_ref(),
        other: handler.sleep.as_ref().map(|_| "sleep"),
    };
    handlers.validate(checks, path);
}

/// The ways to act, of which exactly one must be given.
struct Handlers<'a> {
    exec: Option<&'a ExecAction>,
    http: Option<&'a HTTPGetAction>,
    tcp: Option<&'a TCPSocketAction>,
    other: Option<&'static str>,
}

impl Handlers<'_> {
    fn validate(&self, checks: &mut Checks, path: &Path) {
        let given = [
            self.exec.map(|_| "exec"),
            self.http.map(|_| "httpGet"),
            self.tcp.map(|_| "tcpSocket"),
            self.other,
        ];
        let mut given = given.into_iter().flatten();
        if given.next().is_none() {
            checks.push(FieldError::required(path, "must specify a handler type"));
        }
        for field in given {
            let detail = "may not specify more than 1 handler type";
            checks.push(FieldError::forbidden(&path.child(field), detail));
        }
        if let Some(exec) = self.exec {
            let command = exec.command.as_deref().unwrap_or_default();
            let path = path.child("exec").child("command");
            checks.required(&path, command.first().map_or("", String::as_str), "");
        }
        if let Some(http) = self.http {
            validate_http(checks, &path.child("httpGet"), http);
        }
        if let Some(tcp) = self.tcp {
            checks.port_or_name(&path.child("tcpSocket").child("port"), &tcp.port);
        }
    }
}

fn validate_http(checks: &mut Checks, path: &Path, http: &HTTPGetAction) {
    checks.required(&path.child("path"), http.path.as_deref().unwrap_or_default(), "");
    checks.port_or_name(&path.child("port"), &http.port);
    let scheme = http.scheme.as_deref().unwrap_or_default();
    checks.one_of(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    for (index, header) in http.http_headers.iter().flatten().enumerate() {
        let path = path.child("httpHeaders").index(index).child("name");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let valid = !header.name.is_empty() && header.name.chars().all(plain);
        let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. \
             'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
        checks.holds(valid, &path, &header.name, detail);
    }
    if let Some(host) = http.host.as_deref().filter(|host| host.contains('/')) {
        let reasons = names::dns1123_subdomain(host);
        checks.reasons(&path.child("host"), host, &reasons);
    }
}
