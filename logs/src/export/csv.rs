//! CSV by RFC 4180, with a header line.

use super::table::{Cell, Table};

/// `table` as CSV. Empty cells are empty fields; text is quoted only where it must be.
pub fn csv(table: &Table) -> String {
    let mut text = String::new();
    let mut line = |fields: &mut dyn Iterator<Item = String>| {
        text.push_str(&fields.collect::<Vec<_>>().join(","));
        text.push_str("\r\n");
    };
    line(&mut table.columns.iter().map(|name| quoted(name)));
    for row in &table.rows {
        line(&mut row.iter().map(|cell| match cell {
            Cell::Empty => String::new(),
            Cell::Whole(value) => value.to_string(),
            Cell::Real(value) => value.to_string(),
            Cell::Text(value) => quoted(value),
        }));
    }
    text
}

fn quoted(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_quotes_gets_them() {
        let table = Table {
            columns: vec!["a".into(), "b,c".into()],
            rows: vec![
                vec![Cell::Text("say \"hi\"".into()), Cell::Empty],
                vec![Cell::Whole(7), Cell::Real(0.25)],
                vec![Cell::Text("two\nlines".into()), Cell::Text("plain".into())],
            ],
        };
        assert_eq!(csv(&table), "a,\"b,c\"\r\n\"say \"\"hi\"\"\",\r\n7,0.25\r\n\"two\nlines\",plain\r\n");
    }
}
