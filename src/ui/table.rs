//! Rows under a header, in columns as wide as their widest cell.

use super::escape;

/// A table being filled. Cells are escaped as they come in.
#[derive(Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

const GAP: &str = "  ";

impl Table {
    /// A table with these column titles.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { header: header.map(str::to_owned).into(), rows: Vec::new() }
    }

    /// A table without titles.
    pub fn bare() -> Self {
        Self { header: Vec::new(), rows: Vec::new() }
    }

    /// Adds a row with one cell a column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into_iter().map(|cell| escape::one_line(&cell).into_owned()).collect());
    }

    /// The text, a line end after each line. `style` is put around a cell's text, given its row (none: the
    /// header) and column; what it adds takes no room on the screen.
    pub fn render(&self, style: impl Fn(Option<usize>, usize, &str) -> String) -> String {
        let header = (!self.header.is_empty()).then_some((None, &self.header));
        let rows = self.rows.iter().enumerate().map(|(index, row)| (Some(index), row));
        let lines: Vec<_> = header.into_iter().chain(rows).collect();
        let mut widths = Vec::new();
        for (_, row) in &lines {
            widths.resize(row.len().max(widths.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row.iter()) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for (index, row) in lines {
            let mut pending = 0;
            for (column, cell) in row.iter().enumerate() {
                if cell.is_empty() {
                    pending += widths[column] + GAP.len();
                    continue;
                }
                text.push_str(&" ".repeat(pending));
                text.push_str(&style(index, column, cell));
                pending = widths[column] - cell.chars().count() + GAP.len();
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_clean() {
        let mut table = Table::new(["NAME", "SIZE", "NOTE"]);
        table.row(["rust-env".into(), "1 MiB".into(), String::new()]);
        table.row(["ü".into(), String::new(), "in\nuse".into()]);
        assert_eq!(
            table.render(|_, _, cell| cell.to_owned()),
            "NAME      SIZE   NOTE\nrust-env  1 MiB\nü                in\\x0ause\n"
        );
    }

    #[test]
    fn without_titles() {
        let mut table = Table::bare();
        assert_eq!(table.render(|_, _, cell| cell.to_owned()), "");
        table.row(["a".into(), "b".into()]);
        table.row(["long".into(), "c".into()]);
        assert_eq!(table.render(|_, _, cell| cell.to_owned()), "a     b\nlong  c\n");
    }

    #[test]
    fn colour_takes_no_room() {
        let mut table = Table::new(["A", "B"]);
        table.row(["long".into(), "x".into()]);
        let styled = table.render(|row, _, cell| match row {
            None => format!("<{cell}>"),
            Some(_) => cell.to_owned(),
        });
        assert_eq!(styled, "<A>     <B>\nlong  x\n");
    }
}
