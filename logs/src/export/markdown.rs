//! A Markdown table, padded so that it reads well as plain text too.

use super::table::{Cell, Table};

/// `table` as a Markdown table. Columns that are empty in all rows are left out; numbers are aligned right and measures
/// cut to four significant decimals, so this is for reading and [`super::csv`] for computing.
pub fn markdown(table: &Table) -> String {
    let kept: Vec<usize> = (0..table.columns.len())
        .filter(|&column| table.rows.is_empty() || table.rows.iter().any(|row| row[column] != Cell::Empty))
        .collect();
    let cells: Vec<Vec<String>> =
        table.rows.iter().map(|row| kept.iter().map(|&column| shown(&row[column])).collect()).collect();
    let names: Vec<String> = kept.iter().map(|&column| escaped(&table.columns[column])).collect();
    let widths: Vec<usize> = names
        .iter()
        .enumerate()
        .map(|(i, name)| cells.iter().map(|row| width(&row[i])).fold(width(name).max(3), usize::max))
        .collect();
    let right: Vec<bool> = kept
        .iter()
        .map(|&column| table.rows.iter().all(|row| !matches!(row[column], Cell::Text(_))) && !table.rows.is_empty())
        .collect();
    let line = |fields: &[String]| {
        let padded: Vec<String> = fields
            .iter()
            .enumerate()
            .map(|(i, field)| {
                let space = " ".repeat(widths[i].saturating_sub(width(field)));
                if right[i] { format!("{space}{field}") } else { format!("{field}{space}") }
            })
            .collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let rule: Vec<String> = widths
        .iter()
        .zip(&right)
        .map(|(&width, &right)| if right { format!("{}:", "-".repeat(width - 1)) } else { "-".repeat(width) })
        .collect();
    let mut text = line(&names);
    text.push_str(&format!("| {} |\n", rule.join(" | ")));
    text.extend(cells.iter().map(|row| line(row)));
    text
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Whole(value) => value.to_string(),
        Cell::Real(value) => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').into()
        }
        Cell::Text(value) => escaped(value),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_as_text_too() {
        let table = Table {
            columns: vec!["run".into(), "total_sec".into(), "never".into()],
            rows: vec![
                vec![Cell::Text("a|b".into()), Cell::Real(12.5), Cell::Empty],
                vec![Cell::Text("c".into()), Cell::Real(101.0), Cell::Empty],
            ],
        };
        let wanted = "\
| run  | total_sec |
| ---- | --------: |
| a\\|b |      12.5 |
| c    |       101 |
";
        assert_eq!(markdown(&table), wanted);
    }
}
