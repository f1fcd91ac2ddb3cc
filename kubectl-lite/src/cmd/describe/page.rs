//! The lines of a description while they are written.

use crate::render::tabs;

/// Indented, tab-separated lines; aligned part by part.
#[derive(Debug, Default)]
pub struct Page {
    done: String,
    open: String,
}

impl Page {
    /// Adds a line, two spaces deeper for each level.
    pub fn line(&mut self, level: usize, text: impl AsRef<str>) {
        self.open.extend(std::iter::repeat_n("  ", level));
        self.open.push_str(text.as_ref());
        self.open.push('\n');
    }

    /// Adds `Name:⇥value`.
    pub fn field(&mut self, level: usize, name: &str, value: impl std::fmt::Display) {
        self.line(level, format!("{name}:\t{value}"));
    }

    /// Adds a field that there may not be; an empty text counts as none.
    pub fn given(&mut self, level: usize, name: &str, value: Option<impl std::fmt::Display>) {
        let text = value.map(|it| it.to_string()).filter(|it| !it.is_empty());
        if let Some(text) = text {
            self.field(level, name, text);
        }
    }

    /// Ends a part: what follows is aligned by itself.
    pub fn flush(&mut self) {
        self.done.push_str(&tabs::align(&self.open, tabs::DESCRIBE));
        self.open.clear();
    }

    /// The aligned text.
    pub fn text(mut self) -> String {
        self.flush();
        self.done
    }
}
