//! Measured figures, and the table that shows them beside each other.

use std::time::Duration;

/// One measured number.
pub struct Figure {
    what: String,
    unit: &'static str,
    value: f64,
    /// What it ought to be at most, or at least with `more` being better.
    goal: Option<f64>,
    more: bool,
}

impl Figure {
    /// A figure of which less is better.
    pub fn new(what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self { what: what.into(), unit, value, goal: None, more: false }
    }

    /// One of which more is better.
    pub fn rate(what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self { more: true, ..Self::new(what, unit, value) }
    }

    /// The same with a goal.
    pub fn goal(self, goal: f64) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Whether it is the one of that name.
    pub fn is(&self, what: &str) -> bool {
        self.what == what
    }

    fn met(&self) -> &'static str {
        match self.goal {
            Some(goal) if (self.value >= goal) == self.more || self.value == goal => "met",
            Some(_) => "missed",
            None => "",
        }
    }
}

/// A table of one row: a line a figure, a column a subject, ratios to the first column.
pub fn print_table(row: &str, about: &str, columns: &[(&str, Vec<Figure>)]) {
    let Some((_, first)) = columns.first() else { return };
    println!("\n{row}: {about}");
    let mut head = format!("  {:<44}", "");
    for (at, (name, _)) in columns.iter().enumerate() {
        head += &format!("{name:>12}");
        head += if at > 0 { "   ratio" } else { "" };
    }
    println!("{head}        goal");
    let last = &columns[columns.len() - 1].1;
    for figure in last {
        let mut line = format!("  {:<44}", format!("{} ({})", figure.what, figure.unit));
        let reference = first.iter().find(|other| other.what == figure.what);
        for (at, (_, figures)) in columns.iter().enumerate() {
            match figures.iter().find(|other| other.what == figure.what) {
                Some(found) => {
                    line += &format!("{:>12}", number(found.value));
                    if at > 0 {
                        let ratio = reference.map(|first| found.value / first.value);
                        line += &ratio.map_or("       -".to_owned(), |it| format!("{it:>8.2}"));
                    }
                }
                None => line += &format!("{:>12}{:>8}", "-", if at > 0 { "-" } else { "" }),
            }
        }
        let sign = if figure.more { "≥" } else { "≤" };
        let goal = figure.goal.map(|goal| format!("   {sign} {} {}", number(goal), figure.met()));
        println!("{line}{}", goal.unwrap_or_default());
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The value below which that share of the times is, in milliseconds.
pub fn percentile_ms(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = (times.len().saturating_sub(1) as f64 * share).round() as usize;
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}
