//! `create deployment`: a Deployment from an image's name; the parent sends it.

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// Shown by `create deployment --help`.
pub const EXAMPLES: &str = "Examples:
  kubectl-lite create deployment web --image=nginx --replicas=3 --port=80
  kubectl-lite create deployment client --image=coracle.local/tools -- sleep 3600";

/// Arguments of `create deployment`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The Deployment's name, and the value of its label `app`
    pub name: String,
    /// The containers' images, a container each
    #[arg(long, required = true, value_delimiter = ',')]
    pub image: Vec<String>,
    /// How many pods
    #[arg(long, short, default_value_t = 1)]
    pub replicas: u32,
    /// The port that the container serves on
    #[arg(long)]
    pub port: Option<u16>,
    /// What the container runs instead of the image's program
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// The object.
pub fn object(arguments: &Arguments) -> Result<Value> {
    if arguments.image.len() > 1 && !arguments.command.is_empty() {
        return Err(Error::message("cannot specify multiple --image options and command"));
    }
    let labels = json!({"app": arguments.name});
    let containers: Vec<Value> =
        arguments.image.iter().map(|image| container(arguments, image)).collect();
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": arguments.name, "labels": labels},
        "spec": {
            "replicas": arguments.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }))
}

fn container(arguments: &Arguments, image: &str) -> Value {
    let mut container = json!({"name": container_name(image), "image": image});
    if !arguments.command.is_empty() {
        container["command"] = json!(arguments.command);
    }
    if let Some(port) = arguments.port {
        container["ports"] = json!([{"containerPort": port}]);
    }
    container
}

/// `registry.example/team/My_App:v1@sha256:…` → `my-app`, as kubectl names it.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let bare = last.split(['@', ':']).next().unwrap_or(last);
    let allowed = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '-',
    };
    bare.chars().map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn of(words: &str) -> Result<Value> {
        let words = ["deployment"].into_iter().chain(words.split_whitespace());
        object(&Line::parse_from(words).arguments)
    }

    #[test]
    fn a_deployment_is_made_from_an_image() {
        let made = of("web --image=registry.example/team/My_App:v1 --port=80 -- serve --fast");
        let made = made.expect("an object");
        let labels = json!({"app": "web"});
        assert_eq!(made["spec"]["replicas"], 1);
        assert_eq!(made["metadata"]["labels"], labels);
        assert_eq!(made["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(made["spec"]["template"]["metadata"]["labels"], labels);
        assert_eq!(
            made["spec"]["template"]["spec"]["containers"],
            json!([{
                "name": "my-app", "image": "registry.example/team/My_App:v1",
                "command": ["serve", "--fast"], "ports": [{"containerPort": 80}],
            }])
        );
    }

    #[test]
    fn several_images_have_no_command() {
        let made = of("web --image=a,b:1 -r 2").expect("an object");
        let containers = &made["spec"]["template"]["spec"]["containers"];
        assert_eq!(containers[0]["name"], "a");
        assert_eq!(containers[1]["name"], "b");
        assert_eq!(made["spec"]["replicas"], 2);
        of("web --image=a,b -- run").expect_err("one command for two images");
    }
}
