//! Aligns tab-separated cells the way Go's `text/tabwriter` does. Never knows what a cell means.
//!
//! A column is a run of consecutive lines that have a tab-terminated cell at the
//! same place; each run gets its own width. The last cell of a line is free.

/// How wide cells get.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Least width of a cell, padding included.
    pub min_width: usize,
    /// Spaces after the widest cell of a column.
    pub padding: usize,
}

/// Layout of `get`.
pub const GET: Layout = Layout { min_width: 6, padding: 3 };
/// Layout of `describe`.
pub const DESCRIBE: Layout = Layout { min_width: 0, padding: 2 };

/// Replaces the tabs of `text` by spaces.
pub fn align(text: &str, layout: Layout) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len()]).collect();
    measure(&lines, &mut widths, 0, 0..lines.len(), layout);
    let mut out = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (index, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if index + 1 < cells.len() {
                let used = cell.chars().count();
                out.extend(std::iter::repeat_n(' ', widths[index].saturating_sub(used)));
            }
        }
        out.push('\n');
    }
    out
}

fn measure(
    lines: &[Vec<&str>],
    widths: &mut [Vec<usize>],
    column: usize,
    range: std::ops::Range<usize>,
    layout: Layout,
) {
    let has_cell = |line: usize| lines[line].len() > column + 1;
    let mut line = range.start;
    while line < range.end {
        if !has_cell(line) {
            line += 1;
            continue;
        }
        let start = line;
        while line < range.end && has_cell(line) {
            line += 1;
        }
        let widest = (start..line).map(|it| lines[it][column].chars().count()).max();
        let widest = widest.unwrap_or(0);
        // A column without any text takes no room, as in Go.
        let width = match widest + layout.padding {
            _ if widest == 0 && layout.min_width == 0 => 0,
            width => width.max(layout.min_width),
        };
        for cells in &mut widths[start..line] {
            cells[column] = width;
        }
        measure(lines, widths, column + 1, start..line, layout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_the_cell_ends_the_column() {
        let text = "Name:\tweb\nLonger name:\tx\nSubsets:\n  A:\t1\n  Bee:\t2\n";
        let expected = "Name:         web\nLonger name:  x\nSubsets:\n  A:    1\n  Bee:  2\n";
        assert_eq!(align(text, DESCRIBE), expected);
    }

    #[test]
    fn a_get_cell_is_at_least_six_wide() {
        assert_eq!(align("A\tB\nx\ty\n", GET), "A     B\nx     y\n");
        assert_eq!(align("NAME\tAGE\nlonger\t1s\n", GET), "NAME     AGE\nlonger   1s\n");
    }
}
