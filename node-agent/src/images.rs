//! The images this node has, and what stands in for the others.
//!
//! **Adding an image** is one line in the catalogue. Nothing here pulls or reads anything.

use std::path::Path;

use crate::shim::spec::RootSpec;

/// An image as a container needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What runs, as it is shown in `imageID`.
    pub id: String,
    /// The name asked for is not in the catalogue: this is the demo image in its place.
    pub stand_in: bool,
    /// What the root file system is made of.
    pub root: RootSpec,
    /// Replaced by a container's `command`.
    pub entrypoint: Vec<String>,
    /// Replaced by a container's `args`, and by `command`.
    pub command: Vec<String>,
    /// Environment below the pod's own.
    pub env: Vec<(String, String)>,
}

enum Root {
    Builtin,
    Host,
}

struct Entry {
    name: &'static str,
    root: Root,
    entrypoint: &'static [&'static str],
    command: &'static [&'static str],
}

/// As the first process of its pid namespace a shell must catch `SIGTERM` to be ended by it.
const SLEEP: &[&str] =
    &["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"];

const DEMO: Entry = Entry {
    name: "coracle.local/demo",
    root: Root::Builtin,
    entrypoint: &["/bin/coracle", "demo-web"],
    command: &[],
};

const CATALOGUE: &[Entry] = &[
    DEMO,
    Entry { name: "coracle.local/tools", root: Root::Host, entrypoint: &[], command: SLEEP },
    Entry {
        name: "coracle.local/cluster-dns",
        root: Root::Builtin,
        entrypoint: &["/bin/coracle", "cluster-dns"],
        command: &[],
    },
    Entry {
        name: "coracle.local/proxy-agent",
        root: Root::Builtin,
        entrypoint: &["/bin/coracle", "proxy-agent"],
        command: &[],
    },
];

/// The image called `name` (tag and digest do not matter); `binary` is the program in built-in ones.
pub fn resolve(name: &str, binary: &Path) -> Image {
    let bare = without_tag(name);
    let found = CATALOGUE.iter().find(|entry| entry.name == bare);
    let entry = found.unwrap_or(&DEMO);
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    let mut env = vec![(
        "PATH".to_owned(),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    )];
    env.push(("HOME".to_owned(), "/root".to_owned()));
    Image {
        id: match found {
            Some(_) => format!("{}@builtin", entry.name),
            None => format!("{}@builtin (stands in for {name})", entry.name),
        },
        stand_in: found.is_none(),
        root: match entry.root {
            Root::Builtin => RootSpec::Builtin { binary: binary.to_owned() },
            Root::Host => RootSpec::Host,
        },
        entrypoint: words(entry.entrypoint),
        command: words(entry.command),
        env,
    }
}

fn without_tag(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        // A colon before a slash is a registry's port.
        Some((bare, tag)) if !tag.contains('/') => bare,
        _ => name,
    }
}

/// Program and arguments of a container: its `command` replaces the image's words, its `args` the image's arguments.
pub fn argv(image: &Image, command: &[String], args: &[String]) -> Vec<String> {
    match (command.is_empty(), args.is_empty()) {
        (true, true) => [&image.entrypoint[..], &image.command].concat(),
        (true, false) => [&image.entrypoint[..], args].concat(),
        (false, _) => [command, args].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve() {
        let binary = Path::new("/x");
        for (name, want, stand_in) in [
            ("coracle.local/demo", "demo-web", false),
            ("coracle.local/cluster-dns:v1", "cluster-dns", false),
            ("coracle.local/proxy-agent@sha256:00", "proxy-agent", false),
            ("nginx", "demo-web", true),
            ("localhost:5000/coracle.local/tools", "demo-web", true),
        ] {
            let image = resolve(name, binary);
            assert_eq!((image.entrypoint[1].as_str(), image.stand_in), (want, stand_in), "{name}");
        }
        assert_eq!(resolve("coracle.local/tools:latest", binary).root, RootSpec::Host);
    }

    #[test]
    fn command_and_args_replace_the_images_words() {
        let mut image = resolve("coracle.local/demo", Path::new("/x"));
        image.entrypoint = vec!["e".into()];
        image.command = vec!["c".into()];
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (command, args, want) in
            [("", "", "e c"), ("", "a", "e a"), ("x", "", "x"), ("x", "a b", "x a b")]
        {
            assert_eq!(
                argv(&image, &words(command), &words(args)),
                words(want),
                "{command:?} {args:?}"
            );
        }
    }
}
