//! Whichever package is built, and however, its third-party dependencies have the features that they
//! have in the whole workspace, so that nothing is compiled a second time.
//!
//! `scripts/features` makes the dependencies of this crate anew from the same view.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where in `Cargo.toml` the made part begins.
const MARK: &str = "# What follows is made by: scripts/features\n";

const WITH_TESTS: &str = "normal,build,dev";
const WITHOUT_TESTS: &str = "normal,build";

/// A third-party package. What build scripts and procedural macros need is compiled apart from what
/// the program needs, with features of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    name: String,
    version: String,
    for_host: bool,
}

type Features = BTreeMap<Dependency, BTreeSet<String>>;

fn cargo_tree(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--charset=utf8"])
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo tree prints UTF-8")
}

fn members() -> Vec<String> {
    cargo_tree(&["--workspace", "--depth=0", "--prefix=none", "--format={p}"])
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The features of every third-party dependency of `packages` (`-p NAME` or `--workspace`).
fn features(packages: &[&str], edges: &str) -> Features {
    let text = cargo_tree(&[packages, &["-e", edges, "--format=|{p}|{f}"]].concat());
    let mut found = Features::new();
    // For each level of the tree: whether what is there is for the host, and whether what follows
    // there is under the heading of the build-dependencies.
    let mut levels: Vec<(bool, bool)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut parts = line.split('|');
        let prefix = parts.next().unwrap_or_default();
        if let Some(start) = line.find('[').filter(|_| line.ends_with("dependencies]")) {
            let depth = line[..start].chars().count() / 4 + 1;
            levels.truncate(depth);
            levels.resize(depth + 1, (false, false));
            levels[depth] = (false, line.ends_with("[build-dependencies]"));
            continue;
        }
        let depth = prefix.chars().count() / 4;
        levels.resize(depth + 1, (false, false));
        let package = parts.next().expect("a package");
        let above = depth.checked_sub(1).is_some_and(|above| levels[above].0);
        let for_host = above || levels[depth].1 || package.contains("(proc-macro)");
        levels[depth].0 = for_host;
        if package.contains("(/") {
            continue;
        }
        let mut words = package.split(' ');
        let mut word = || words.next().expect("a name and a version");
        let (name, version) = (word().to_owned(), word().trim_start_matches('v').to_owned());
        let list = parts.next().unwrap_or_default().trim_end_matches(" (*)");
        let list = list.split(',').filter(|feature| !feature.is_empty()).map(str::to_owned);
        found.entry(Dependency { name, version, for_host }).or_default().extend(list);
    }
    assert!(found.len() > 20, "the tree of {packages:?} has {} dependencies", found.len());
    found
}

/// What is built with other features than in the whole: the dependency, and in which builds.
fn differing(whole: &Features) -> BTreeMap<Dependency, Vec<String>> {
    let mut differing: BTreeMap<Dependency, Vec<String>> = BTreeMap::new();
    let mut compare = |what: String, alone: Features| {
        for (dependency, features) in alone {
            let expected = &whole[&dependency];
            if features != *expected {
                let missing: Vec<_> = expected.difference(&features).cloned().collect();
                let missing = format!("{what} lacks {}", missing.join(", "));
                differing.entry(dependency).or_default().push(missing);
            }
        }
    };
    for member in members().iter().filter(|member| *member != "features") {
        compare(format!("cargo build -p {member}"), features(&["-p", member], WITHOUT_TESTS));
        compare(format!("cargo test -p {member}"), features(&["-p", member], WITH_TESTS));
    }
    compare("cargo build --workspace".into(), features(&["--workspace"], WITHOUT_TESTS));
    differing
}

#[test]
fn dependencies_have_the_same_features_in_every_build() {
    let differing = differing(&features(&["--workspace"], WITH_TESTS));
    let lines: Vec<_> = differing
        .iter()
        .map(|(Dependency { name, version, for_host }, builds)| {
            let side = if *for_host { " (for build scripts and macros)" } else { "" };
            format!("{name} {version}{side}\n    {}", builds.join("\n    "))
        })
        .collect();
    assert!(
        lines.is_empty(),
        "dependencies that some builds would compile again; run scripts/features:\n  {}",
        lines.join("\n  ")
    );
}

/// The version as a requirement of it and what is compatible: `1`, `0.9`, `0.0.1`.
fn compatible(version: &str) -> String {
    let parts: Vec<_> = version.split(['.', '+', '-']).take(3).collect();
    let significant = parts.iter().position(|part| *part != "0").unwrap_or(2);
    parts[..=significant].join(".")
}

/// The dependencies as `Cargo.toml` lists them.
fn listing(wanted: &BTreeSet<(Dependency, BTreeSet<String>)>) -> String {
    let mut text = String::new();
    for (title, for_host) in [("dependencies", false), ("build-dependencies", true)] {
        text += &format!("\n[{title}]\n");
        for (Dependency { name, version, .. }, features) in
            wanted.iter().filter(|(dependency, _)| dependency.for_host == for_host)
        {
            let version = compatible(version);
            let key = format!("{name}-{}", version.replace('.', "_"));
            text += &format!(
                "{key} = {{ package = {name:?}, version = {version:?}, default-features = false, \
                 features = {:?} }}\n",
                Vec::from_iter(features)
            );
        }
    }
    text
}

#[test]
#[ignore = "writes Cargo.toml: scripts/features"]
fn write() {
    let manifest: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("the manifest is there");
    let (head, _) = text.split_once(MARK).expect("the manifest has a made part");
    let head = format!("{head}{MARK}");
    // The view without what was made before. What is listed brings dependencies of its own, which
    // may have to be listed too.
    let mut wanted = BTreeSet::new();
    loop {
        fs::write(&manifest, head.clone() + &listing(&wanted)).expect("the manifest is written");
        let whole = features(&["--workspace"], WITH_TESTS);
        let shipped = features(&["-p", "coracle"], WITHOUT_TESTS);
        let before = wanted.len();
        let differing = differing(&whole).into_keys();
        wanted.extend(differing.filter(|dependency| shipped.contains_key(dependency)).map(
            |dependency| {
                let features = whole[&dependency].clone();
                (dependency, features)
            },
        ));
        if wanted.len() == before {
            break;
        }
    }
}
