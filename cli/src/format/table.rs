//! Columns as Go's `tabwriter` lays them out for Docker: three spaces apart, with a least width.

/// The least width of a column of Docker's listings.
pub(crate) const CELL_MIN: usize = 10;
const PADDING: usize = 3;

/// Aligns tab-separated `text`. A column is a run of neighbouring lines that have a tab there.
pub(crate) fn align(text: &str, cell_min: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len()]).collect();
    for column in 0..columns.saturating_sub(1) {
        let mut at = 0;
        while at < lines.len() {
            let run = lines[at..].iter().take_while(|line| line.len() > column + 1).count();
            let cells =
                lines[at..at + run].iter().map(|line| line[column].chars().count() + PADDING);
            let width = cells.max().unwrap_or(0).max(cell_min);
            for line in &mut widths[at..at + run] {
                line[column] = width;
            }
            at += run.max(1);
        }
    }
    let aligned: Vec<String> =
        lines.iter().zip(&widths).map(|(line, widths)| padded(line, widths)).collect();
    aligned.join("\n")
}

fn padded(line: &[&str], widths: &[usize]) -> String {
    let mut out = String::new();
    for (cell, width) in line.iter().zip(widths) {
        out.push_str(cell);
        out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_ten_wide_at_least_and_three_apart() {
        assert_eq!(
            align("REPOSITORY\tTAG\tSIZE\nlocalhost:5000/a/b\tv1\t4.26MB\nz\t1\té\n", CELL_MIN),
            "REPOSITORY           TAG       SIZE\nlocalhost:5000/a/b   v1        4.26MB\nz                    1         é\n"
        );
    }

    #[test]
    fn a_line_without_tabs_parts_the_columns() {
        assert_eq!(
            align("a\tb\nplain\nlonger than ten\tb", CELL_MIN),
            "a         b\nplain\nlonger than ten   b"
        );
    }

    #[test]
    fn the_last_cell_is_not_padded() {
        assert_eq!(align("a\t", CELL_MIN), "a         ");
        assert_eq!(align("", CELL_MIN), "");
    }
}
