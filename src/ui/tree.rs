//! A tree with columns and bars, for terminals: what is read by eye. Pipes get a [`Table`](super::Table).

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::escape;

/// Rows, each below the nearest one before it that is less deep.
#[derive(Debug, Default)]
pub struct Tree {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    depth: usize,
    cells: Vec<Cell>,
}

/// What stands in a column.
#[derive(Debug)]
pub enum Cell {
    /// A text, escaped when it is drawn. The last one of a row goes on below itself where it is too long.
    Text(String),
    /// A number, at the right of its column.
    Number(String),
    /// A bar: so much solid and so much pale, of a whole that all bars of the tree have.
    Bar(u64, u64),
}

/// What to draw with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brush {
    /// Columns of the terminal.
    pub(super) width: usize,
    /// Whether it shows more than ASCII.
    pub(super) unicode: bool,
}

/// Widest bar.
const BAR: usize = 24;
/// Narrowest bar worth drawing.
const LEAST_BAR: usize = 6;
/// Narrowest last column that is broken into lines.
const LEAST_TEXT: usize = 20;
const GAP: &str = "  ";

impl Tree {
    /// Adds a row.
    pub fn row(&mut self, depth: usize, cells: impl Into<Vec<Cell>>) {
        self.rows.push(Row { depth, cells: cells.into() });
    }

    /// The text. `strong` is put around the name of what is at the top.
    pub(super) fn render(&self, brush: Brush, strong: impl Fn(&str) -> String) -> String {
        let widths = self.widths(brush);
        let whole =
            self.rows.iter().flat_map(|row| &row.cells).map(Cell::amount).max().filter(|most| *most > 0);
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let (branch, below) = self.branches(index, brush);
            let mut line = branch;
            let mut rest = Vec::new();
            let last = row.cells.len().saturating_sub(1);
            for (column, cell) in row.cells.iter().enumerate() {
                let room = widths.get(column).copied().unwrap_or_default();
                if column > 0 {
                    line.push_str(GAP);
                }
                match cell {
                    Cell::Text(text) => {
                        let shown = escape::one_line(text);
                        let indent = line.width();
                        let lines = match column == last && brush.width >= indent + LEAST_TEXT {
                            true => broken(&shown, brush.width - indent),
                            false => vec![shown.into_owned()],
                        };
                        let mut lines = lines.into_iter();
                        let first = lines.next().unwrap_or_default();
                        let used = if column == 0 { indent + first.width() } else { first.width() };
                        line.push_str(&if row.depth == 0 && column == 0 { strong(&first) } else { first });
                        if column != last {
                            line.push_str(&" ".repeat(room.saturating_sub(used)));
                        }
                        let hang = " ".repeat(indent.saturating_sub(below.width()));
                        rest.extend(lines.map(|line| format!("{below}{hang}{line}")));
                    }
                    Cell::Number(number) => {
                        line.push_str(&" ".repeat(room.saturating_sub(number.width())));
                        line.push_str(number);
                    }
                    Cell::Bar(solid, pale) => {
                        line.push_str(&bar(*solid, *pale, whole.unwrap_or(1), room, brush.unicode));
                    }
                }
            }
            for line in std::iter::once(line).chain(rest) {
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }

    /// The width of each column; bars have what is left, or nothing.
    fn widths(&self, brush: Brush) -> Vec<usize> {
        let mut widths = Vec::new();
        let mut bars = Vec::new();
        for row in &self.rows {
            let last = row.cells.len().saturating_sub(1);
            widths.resize(row.cells.len().max(widths.len()), 0);
            for (column, cell) in row.cells.iter().enumerate() {
                let width = match cell {
                    // the last one makes no column wider
                    Cell::Text(_) if column == last && column > 0 => 0,
                    Cell::Text(text) => {
                        escape::one_line(text).width() + if column == 0 { row.depth * 3 } else { 0 }
                    }
                    Cell::Number(number) => number.width(),
                    Cell::Bar(..) => {
                        bars.push(column);
                        0
                    }
                };
                widths[column] = widths[column].max(width);
            }
        }
        let taken: usize = widths.iter().map(|width| width + GAP.len()).sum();
        // a short text behind the bar still has its place
        let left = brush.width.saturating_sub(taken + LEAST_TEXT).min(BAR);
        for column in bars {
            widths[column] = if left < LEAST_BAR { 0 } else { left };
        }
        widths
    }

    /// What stands before the row at `index`, and before its further lines.
    fn branches(&self, index: usize, brush: Brush) -> (String, String) {
        let (tee, end, pass) =
            if brush.unicode { ("├─ ", "└─ ", "│  ") } else { ("|- ", "`- ", "|  ") };
        let depth = self.rows[index].depth;
        let mut branch = String::new();
        let mut below = String::new();
        for level in 1..=depth {
            let later = &self.rows[index + 1..];
            let goes_on = later.iter().take_while(|row| row.depth >= level).any(|row| row.depth == level);
            let own = level == depth;
            branch.push_str(match (own, goes_on) {
                (true, true) => tee,
                (true, false) => end,
                (false, true) => pass,
                (false, false) => "   ",
            });
            below.push_str(if goes_on { pass } else { "   " });
        }
        let has_children = self.rows.get(index + 1).is_some_and(|next| next.depth > depth);
        if has_children {
            below.push_str(pass);
        }
        (branch, below)
    }
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn amount(&self) -> u64 {
        match self {
            Self::Bar(solid, pale) => solid.saturating_add(*pale),
            _ => 0,
        }
    }
}

/// `solid` and `pale` of `whole`, in `room` columns. What is more than nothing is seen.
fn bar(solid: u64, pale: u64, whole: u64, room: usize, unicode: bool) -> String {
    let (full, shade) = if unicode { ('█', '░') } else { ('#', '-') };
    let part = |amount: u64| {
        let exact = u128::from(amount) * room as u128 / u128::from(whole.max(1));
        usize::try_from(exact).unwrap_or(room).max(usize::from(amount > 0 && room > 0)).min(room)
    };
    let bytes = solid.saturating_add(pale);
    let solid = part(solid);
    let least = usize::from(pale > 0);
    let pale = part(bytes).saturating_sub(solid).max(least).min(room - solid);
    let mut text: String = std::iter::repeat_n(full, solid).collect();
    text.extend(std::iter::repeat_n(shade, pale));
    text.extend(std::iter::repeat_n(' ', room - solid - pale));
    text
}

/// `text` in lines of at most `width` columns, broken between words where there are any.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        if used > 0 && used + word.trim_end().width() > width {
            lines.push(String::new());
            used = 0;
        }
        for letter in word.chars() {
            let wide = letter.width().unwrap_or_default();
            if used + wide > width && letter != ' ' {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(letter);
            }
            used += wide;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(tree: &Tree, width: usize, unicode: bool) -> String {
        tree.render(Brush { width, unicode }, |name| format!("<{name}>"))
    }

    fn disk() -> Tree {
        let mut tree = Tree::default();
        tree.row(0, [Cell::text("images")]);
        let row = |name: &str, own, shared| {
            [
                Cell::text(name),
                Cell::Bar(own, shared),
                Cell::Number(format!("{} B", own + shared)),
                Cell::text("own"),
            ]
        };
        tree.row(1, row("debian", 0, 25));
        tree.row(1, row("rust", 75, 25));
        tree.row(0, [Cell::text("boxes")]);
        tree.row(1, row("app\u{1b}", 1, 0));
        tree
    }

    #[test]
    fn trees_with_bars() {
        assert_eq!(
            drawn(&disk(), 80, true),
            "<images>\n\
             ├─ debian   ░░░░░░                     25 B  own\n\
             └─ rust     ██████████████████░░░░░░  100 B  own\n\
             <boxes>\n\
             └─ app\\x1b  █                           1 B  own\n"
        );
        assert_eq!(
            drawn(&disk(), 54, false),
            "<images>\n\
             |- debian   --            25 B  own\n\
             `- rust     ########---  100 B  own\n\
             <boxes>\n\
             `- app\\x1b  #              1 B  own\n"
        );
    }

    #[test]
    fn a_narrow_terminal_has_no_bars_and_long_texts_go_on_below() {
        assert!(!drawn(&disk(), 30, true).contains('█'));
        let mut tree = Tree::default();
        tree.row(0, [Cell::text("box")]);
        tree.row(1, [Cell::text("profile"), Cell::text("one two three four five six")]);
        tree.row(2, [Cell::text("deep")]);
        tree.row(1, [Cell::text("x"), Cell::text("漢字漢字漢字漢字漢字漢字漢字")]);
        assert_eq!(
            drawn(&tree, 33, true),
            "<box>\n\
             ├─ profile  one two three four\n\
             │  │        five six\n\
             │  └─ deep\n\
             └─ x        漢字漢字漢字漢字漢字\n\
             \u{20}           漢字漢字\n"
        );
    }

    #[test]
    fn what_is_there_is_seen() {
        assert_eq!(bar(1, 1, 1 << 40, 6, false), "#-    ");
        assert_eq!(bar(0, 0, 0, 6, false), "      ");
        assert_eq!(bar(u64::MAX, u64::MAX, u64::MAX, 6, false), "######");
        assert_eq!(bar(1, 1, 2, 0, false), "");
    }
}
