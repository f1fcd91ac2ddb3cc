//! The volumes of a pod or of a pod template, and where containers mount them.

use k8s_openapi::api::core::v1::{Volume, VolumeMount, VolumeProjection};

use super::fields::text;
use super::page::Page;

/// Writes a container's mounts.
pub fn mounts(page: &mut Page, mounts: &[VolumeMount]) {
    if mounts.is_empty() {
        page.field(2, "Mounts", "<none>");
        return;
    }
    page.line(2, "Mounts:");
    let mut sorted: Vec<_> = mounts.iter().collect();
    sorted.sort_by_key(|it| &it.mount_path);
    for mount in sorted {
        let access = if mount.read_only == Some(true) { "ro" } else { "rw" };
        let path = match text(&mount.sub_path) {
            "" => String::new(),
            path => format!(",path={path:?}"),
        };
        page.line(3, format!("{} from {} ({access}{path})", mount.mount_path, mount.name));
    }
}

/// Writes volumes with their source's fields.
pub fn volumes(page: &mut Page, level: usize, volumes: &[Volume]) {
    if volumes.is_empty() {
        page.field(level, "Volumes", "<none>");
        return;
    }
    page.line(level, "Volumes:");
    for volume in volumes {
        let margin = if level > 0 { " " } else { "  " };
        page.line(level, format!("{margin}{}:", volume.name));
        source(page, volume);
    }
}

fn source(page: &mut Page, volume: &Volume) {
    if let Some(host) = &volume.host_path {
        page.field(2, "Type", "HostPath (bare host directory volume)");
        page.field(2, "Path", &host.path);
        page.field(2, "HostPathType", text(&host.type_));
    } else if let Some(empty) = &volume.empty_dir {
        page.field(2, "Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
        page.field(2, "Medium", text(&empty.medium));
        page.field(2, "SizeLimit", empty.size_limit.as_ref().map_or("<unset>", |it| &it.0));
    } else if let Some(map) = &volume.config_map {
        page.field(2, "Type", "ConfigMap (a volume populated by a ConfigMap)");
        page.field(2, "Name", &map.name);
        page.field(2, "Optional", map.optional.unwrap_or(false));
    } else if let Some(secret) = &volume.secret {
        page.field(2, "Type", "Secret (a volume populated by a Secret)");
        page.field(2, "SecretName", text(&secret.secret_name));
        page.field(2, "Optional", secret.optional.unwrap_or(false));
    } else if let Some(parts) = &volume.projected {
        let kind = "Projected (a volume that contains injected data from multiple sources)";
        page.field(2, "Type", kind);
        for part in parts.sources.iter().flatten() {
            projected(page, part);
        }
    } else {
        // Shown by the name of its field.
        let fields = serde_json::to_value(volume).unwrap_or_default();
        let mut names = fields.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        page.field(2, "Type", names.find(|name| *name != "name").unwrap_or("<unknown>"));
    }
}

fn projected(page: &mut Page, source: &VolumeProjection) {
    if let Some(token) = &source.service_account_token {
        let seconds = token.expiration_seconds.map_or("null".to_owned(), |it| it.to_string());
        page.field(2, "TokenExpirationSeconds", seconds);
    } else if let Some(map) = &source.config_map {
        page.field(2, "ConfigMapName", &map.name);
        page.field(2, "Optional", map.optional.unwrap_or(false));
    } else if let Some(secret) = &source.secret {
        page.field(2, "SecretName", &secret.name);
        page.field(2, "Optional", secret.optional.unwrap_or(false));
    } else if source.downward_api.is_some() {
        page.field(2, "DownwardAPI", "true");
    }
}
