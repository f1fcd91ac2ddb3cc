//! A program in a place of the lab that ends with the test, also with a failed one.

use std::{
    io::{BufRead, BufReader},
    process::Child,
};

use crate::Cluster;

/// A running program.
pub struct Background(Child);

impl Background {
    /// Starts one; the probe's verbs that go on for ever end when their standard input does.
    pub fn start(lab: &dyn Cluster, place: &str, program: &[&str]) -> Self {
        Self(lab.spawn(place, program))
    }

    /// The lines that it prints, to be taken once.
    pub fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let stdout = self.0.stdout.take().expect("taken once, from a pipe");
        BufReader::new(stdout).lines().map_while(Result::ok)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
