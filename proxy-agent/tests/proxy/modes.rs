//! The modes that these tests hand to the agent: the same list as the agent's own, which a
//! test may make longer by a line.

use std::path::{Path, PathBuf};

use proxy_agent::config;
use proxy_agent::mode::{self, Entry};
use proxy_agent::routes::Family;

use super::objects;
use super::table::{catalog_of, settings_of};

/// The modes.
pub const MODES: &[Entry] = &[
    // The default.
    mode::nftables::MODE,
    mode::iptables::MODE,
    mode::ipvs::MODE,
    mode::userspace::MODE,
    super::recording::MODE,
];

#[test]
fn every_mode_of_the_list_can_be_asked_for_and_shows_its_plan() {
    let objects = "svc web 10.96.0.41,fd96::41 80/tcp\nep web 10.244.1.5:8080 node-1";
    let mut catalog = catalog_of(objects::changes(objects));
    catalog.take_dirty();
    for mode in MODES {
        let text = format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
             mode: {mode}\n"
        );
        let (config, _) = config::parse(MODES, &text).expect("a configuration");
        assert_eq!(config.mode, mode);
        let plan = (mode.render)(&settings_of(Family::V4), &catalog);
        assert!(plan.contains("10.96.0.41") && plan.contains("10.244.1.5"), "{mode}: {plan}");
    }
}

/// The files of the crate below `place`, with the lines that come before their tests.
fn sources(place: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(place).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).expect("a text");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            found.push((path, code.to_owned()));
        }
    }
    found
}

/// The list alone: not another mode, nor anything beside the modes.
#[test]
fn nothing_but_the_list_imports_a_mode() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (path, code) in sources(&source) {
        let starts = ["use crate::", "use super::", "use self::"];
        let imports = starts.iter().flat_map(|start| code.split(start).skip(1));
        for import in imports.filter_map(|rest| rest.split(';').next()) {
            let words = || import.split(|c: char| !c.is_alphanumeric() && c != '_');
            for mode in MODES {
                let is_own = path.starts_with(source.join("mode").join(mode.name));
                let is_list = path == source.join("modes.rs");
                let is_used = words().any(|word| word == mode.name);
                assert!(is_own || is_list || !is_used, "{}: {import}", path.display());
            }
        }
    }
}
