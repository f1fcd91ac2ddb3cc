//! Containers and volumes, of a pod or of a pod template. Never asks for anything.

use serde_json::Value;

use super::fields::{annotations, items, labels, plain, text};
use super::page::Page;
use crate::{labels as selectors, time};

/// Writes a controller's pod template.
pub fn describe(page: &mut Page, template: &Value) {
    page.line(0, "Pod Template:");
    labels(page, 1, "Labels", &template["metadata"]["labels"]);
    if template["metadata"]["annotations"].as_object().is_some_and(|it| !it.is_empty()) {
        annotations(page, 1, "Annotations", &template["metadata"]["annotations"]);
    }
    let spec = &template["spec"];
    if !text(&spec["serviceAccountName"]).is_empty() {
        page.field(1, "Service Account", text(&spec["serviceAccountName"]));
    }
    if items(&spec["initContainers"]).next().is_some() {
        containers(page, 1, "Init Containers", &spec["initContainers"], &Value::Null);
    }
    containers(page, 1, "Containers", &spec["containers"], &Value::Null);
    volumes(page, 1, &spec["volumes"]);
    if !text(&spec["priorityClassName"]).is_empty() {
        page.field(1, "Priority Class Name", text(&spec["priorityClassName"]));
    }
    page.field(1, "Node-Selectors", selectors::format(&spec["nodeSelector"], "\n\t", "<none>"));
    tolerations(page, 1, &spec["tolerations"]);
}

/// Writes containers; `statuses` is null for a template.
pub fn containers(page: &mut Page, level: usize, title: &str, list: &Value, statuses: &Value) {
    if items(list).next().is_none() {
        page.field(level, title, "<none>");
        return;
    }
    page.line(level, format!("{title}:"));
    for container in items(list) {
        let status = items(statuses).find(|it| it["name"] == container["name"]);
        let margin = if level > 0 { " " } else { "" };
        page.line(
            level,
            format!("{margin}{}{}:", if level > 0 { "" } else { "  " }, text(&container["name"])),
        );
        one(page, container, status);
    }
}

fn one(page: &mut Page, container: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        page.field(2, "Container ID", text(&status["containerID"]));
    }
    page.field(2, "Image", text(&container["image"]));
    if let Some(status) = status {
        page.field(2, "Image ID", text(&status["imageID"]));
    }
    ports(page, container, "Port", "containerPort");
    ports(page, container, "Host Port", "hostPort");
    for (title, field) in [("Command", "command"), ("Args", "args")] {
        if items(&container[field]).next().is_some() {
            page.line(2, format!("{title}:"));
        }
        for word in items(&container[field]) {
            for line in text(word).lines() {
                page.line(3, line);
            }
        }
    }
    if let Some(status) = status {
        state(page, "State", &status["state"]);
        if status["lastState"]["terminated"].is_object() {
            state(page, "Last State", &status["lastState"]);
        }
        page.field(2, "Ready", if status["ready"] == true { "True" } else { "False" });
        page.field(2, "Restart Count", status["restartCount"].as_i64().unwrap_or(0));
    }
    for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
        let amounts = container["resources"][field].as_object();
        if amounts.is_some_and(|it| !it.is_empty()) {
            page.line(2, format!("{title}:"));
        }
        for (name, amount) in amounts.into_iter().flatten() {
            page.field(3, name, plain(amount));
        }
    }
    for (title, field) in [
        ("Liveness", "livenessProbe"),
        ("Readiness", "readinessProbe"),
        ("Startup", "startupProbe"),
    ] {
        if container[field].is_object() {
            page.field(2, title, probe(&container[field]));
        }
    }
    environment(page, container);
    mounts(page, &container["volumeMounts"]);
}

fn ports(page: &mut Page, container: &Value, title: &str, field: &str) {
    let texts: Vec<_> = items(&container["ports"])
        .map(|port| {
            let number = port[field].as_i64().unwrap_or(0);
            format!("{number}/{}", text(&port["protocol"]))
        })
        .collect();
    let plural = if texts.len() > 1 { "s" } else { "" };
    let shown = if texts.is_empty() { "<none>".to_owned() } else { texts.join(", ") };
    page.field(2, &format!("{title}{plural}"), shown);
}

fn state(page: &mut Page, title: &str, state: &Value) {
    let with_text = |page: &mut Page, name: &str, value: &Value| {
        if !text(value).is_empty() {
            page.field(3, name, text(value));
        }
    };
    if state["running"].is_object() {
        page.field(2, title, "Running");
        page.field(3, "Started", time::date(text(&state["running"]["startedAt"])));
    } else if state["terminated"].is_object() {
        let ended = &state["terminated"];
        page.field(2, title, "Terminated");
        with_text(page, "Reason", &ended["reason"]);
        with_text(page, "Message", &ended["message"]);
        page.field(3, "Exit Code", ended["exitCode"].as_i64().unwrap_or(0));
        if let Some(signal @ 1..) = ended["signal"].as_i64() {
            page.field(3, "Signal", signal);
        }
        page.field(3, "Started", time::date(text(&ended["startedAt"])));
        page.field(3, "Finished", time::date(text(&ended["finishedAt"])));
    } else {
        page.field(2, title, "Waiting");
        with_text(page, "Reason", &state["waiting"]["reason"]);
    }
}

fn probe(probe: &Value) -> String {
    let seconds = |field: &str| probe[field].as_i64().unwrap_or(0);
    let attributes = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        seconds("initialDelaySeconds"),
        seconds("timeoutSeconds"),
        seconds("periodSeconds"),
        seconds("successThreshold"),
        seconds("failureThreshold"),
    );
    if probe["exec"].is_object() {
        let words: Vec<_> = items(&probe["exec"]["command"]).map(text).collect();
        return format!("exec [{}] {attributes}", words.join(" "));
    }
    if probe["httpGet"].is_object() {
        let get = &probe["httpGet"];
        let scheme = text(&get["scheme"]).to_lowercase();
        let path = text(&get["path"]);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let (host, port) = (text(&get["host"]), plain(&get["port"]));
        return format!("http-get {scheme}://{host}:{port}{slash}{path} {attributes}");
    }
    if probe["tcpSocket"].is_object() {
        let socket = &probe["tcpSocket"];
        return format!(
            "tcp-socket {}:{} {attributes}",
            text(&socket["host"]),
            plain(&socket["port"])
        );
    }
    if probe["grpc"].is_object() {
        let grpc = &probe["grpc"];
        return format!("grpc <pod>:{} {} {attributes}", grpc["port"], text(&grpc["service"]));
    }
    format!("unknown {attributes}")
}

fn environment(page: &mut Page, container: &Value) {
    if items(&container["envFrom"]).next().is_some() {
        page.line(2, "Environment Variables from:");
    }
    for source in items(&container["envFrom"]) {
        let (kind, from) = match source["configMapRef"].is_object() {
            true => ("ConfigMap", &source["configMapRef"]),
            false => ("Secret", &source["secretRef"]),
        };
        let optional = from["optional"].as_bool().unwrap_or(false);
        page.line(3, format!("{}\t{kind}\tOptional: {optional}", text(&from["name"])));
    }
    if items(&container["env"]).next().is_none() {
        page.field(2, "Environment", "<none>");
        return;
    }
    page.line(2, "Environment:");
    for variable in items(&container["env"]) {
        let from = &variable["valueFrom"];
        let name = text(&variable["name"]);
        let reference = |source: &Value, kind: &str| {
            let optional = source["optional"].as_bool().unwrap_or(false);
            format!(
                "<set to the key '{}' {kind} '{}'>\tOptional: {optional}",
                text(&source["key"]),
                text(&source["name"])
            )
        };
        let value = if from["fieldRef"].is_object() {
            let field = &from["fieldRef"];
            format!(" ({}:{})", text(&field["apiVersion"]), text(&field["fieldPath"]))
        } else if from["configMapKeyRef"].is_object() {
            reference(&from["configMapKeyRef"], "of config map")
        } else if from["secretKeyRef"].is_object() {
            reference(&from["secretKeyRef"], "in secret")
        } else {
            text(&variable["value"]).to_owned()
        };
        let mut lines = value.split('\n');
        page.field(3, name, lines.next().unwrap_or_default());
        for line in lines {
            page.line(3, format!("\t{line}"));
        }
    }
}

fn mounts(page: &mut Page, mounts: &Value) {
    if items(mounts).next().is_none() {
        page.field(2, "Mounts", "<none>");
        return;
    }
    page.line(2, "Mounts:");
    let mut sorted: Vec<_> = items(mounts).collect();
    sorted.sort_by_key(|it| text(&it["mountPath"]));
    for mount in sorted {
        let mut flags = vec![if mount["readOnly"] == true { "ro" } else { "rw" }.to_owned()];
        if !text(&mount["subPath"]).is_empty() {
            flags.push(format!("path={:?}", text(&mount["subPath"])));
        }
        page.line(
            3,
            format!(
                "{} from {} ({})",
                text(&mount["mountPath"]),
                text(&mount["name"]),
                flags.join(",")
            ),
        );
    }
}

/// Writes volumes with their source's fields.
pub fn volumes(page: &mut Page, level: usize, volumes: &Value) {
    if items(volumes).next().is_none() {
        page.field(level, "Volumes", "<none>");
        return;
    }
    page.line(level, "Volumes:");
    for volume in items(volumes) {
        let margin = if level > 0 { " " } else { "  " };
        page.line(level, format!("{margin}{}:", text(&volume["name"])));
        volume_source(page, volume);
    }
}

fn volume_source(page: &mut Page, volume: &Value) {
    let optional = |source: &Value| source["optional"].as_bool().unwrap_or(false);
    if volume["hostPath"].is_object() {
        page.field(2, "Type", "HostPath (bare host directory volume)");
        page.field(2, "Path", text(&volume["hostPath"]["path"]));
        page.field(2, "HostPathType", text(&volume["hostPath"]["type"]));
    } else if volume["emptyDir"].is_object() {
        page.field(2, "Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
        page.field(2, "Medium", text(&volume["emptyDir"]["medium"]));
        let limit = &volume["emptyDir"]["sizeLimit"];
        page.field(2, "SizeLimit", limit.as_str().unwrap_or("<unset>"));
    } else if volume["configMap"].is_object() {
        page.field(2, "Type", "ConfigMap (a volume populated by a ConfigMap)");
        page.field(2, "Name", text(&volume["configMap"]["name"]));
        page.field(2, "Optional", optional(&volume["configMap"]));
    } else if volume["secret"].is_object() {
        page.field(2, "Type", "Secret (a volume populated by a Secret)");
        page.field(2, "SecretName", text(&volume["secret"]["secretName"]));
        page.field(2, "Optional", optional(&volume["secret"]));
    } else if volume["projected"].is_object() {
        page.field(
            2,
            "Type",
            "Projected (a volume that contains injected data from multiple sources)",
        );
        projected(page, &volume["projected"]["sources"]);
    } else {
        let kinds = volume.as_object().into_iter().flatten();
        let kind = kinds.map(|(name, _)| name.as_str()).find(|name| *name != "name");
        page.field(2, "Type", kind.unwrap_or("<unknown>"));
    }
}

fn projected(page: &mut Page, sources: &Value) {
    for source in items(sources) {
        let optional = |it: &Value| it["optional"].as_bool().unwrap_or(false);
        if source["serviceAccountToken"].is_object() {
            let seconds = &source["serviceAccountToken"]["expirationSeconds"];
            page.field(2, "TokenExpirationSeconds", seconds);
        } else if source["configMap"].is_object() {
            page.field(2, "ConfigMapName", text(&source["configMap"]["name"]));
            page.field(2, "Optional", optional(&source["configMap"]));
        } else if source["secret"].is_object() {
            page.field(2, "SecretName", text(&source["secret"]["name"]));
            page.field(2, "Optional", optional(&source["secret"]));
        } else if source["downwardAPI"].is_object() {
            page.field(2, "DownwardAPI", "true");
        }
    }
}

/// Writes tolerations, one a line.
pub fn tolerations(page: &mut Page, level: usize, tolerations: &Value) {
    let mut texts: Vec<_> = items(tolerations)
        .map(|it| {
            let (key, value) = (text(&it["key"]), text(&it["value"]));
            let mut shown =
                if value.is_empty() { key.to_owned() } else { format!("{key}={value}") };
            if !text(&it["effect"]).is_empty() {
                let colon = if shown.is_empty() { "" } else { ":" };
                shown = format!("{shown}{colon}{}", text(&it["effect"]));
            }
            if it["operator"] == "Exists" && value.is_empty() {
                let space = if key.is_empty() && text(&it["effect"]).is_empty() { "" } else { " " };
                shown = format!("{shown}{space}op=Exists");
            }
            match it["tolerationSeconds"].as_i64() {
                Some(seconds) => format!("{shown} for {seconds}s"),
                None => shown,
            }
        })
        .collect();
    texts.sort();
    if texts.is_empty() {
        page.field(level, "Tolerations", "<none>");
    }
    for (index, shown) in texts.iter().enumerate() {
        let title = if index == 0 { "Tolerations:" } else { "" };
        page.line(level, format!("{title}\t{shown}"));
    }
}
