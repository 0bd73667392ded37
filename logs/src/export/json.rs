//! JSON: a list of objects, one a row.

use serde_json::{Map, Value};

use super::table::{Cell, Table};

/// `table` as a JSON list of objects, a row a line. Empty cells, and numbers JSON cannot hold, are `null`.
pub fn json(table: &Table) -> String {
    let rows: Vec<String> = table
        .rows
        .iter()
        .map(|row| {
            let fields: Map<String, Value> = table
                .columns
                .iter()
                .zip(row)
                .map(|(name, cell)| {
                    let value = match cell {
                        Cell::Empty => Value::Null,
                        Cell::Whole(value) => Value::from(*value),
                        Cell::Real(value) => Value::from(*value),
                        Cell::Text(value) => Value::from(value.as_str()),
                    };
                    (name.clone(), value)
                })
                .collect();
            Value::Object(fields).to_string()
        })
        .collect();
    if rows.is_empty() { "[]\n".into() } else { format!("[\n{}\n]\n", rows.join(",\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_an_object() {
        let table = Table {
            columns: vec!["a".into(), "b".into(), "c".into()],
            rows: vec![vec![Cell::Whole(7), Cell::Real(f64::NAN), Cell::Text("x\ny".into())]; 2],
        };
        let read: Value = serde_json::from_str(&json(&table)).unwrap();
        let row = serde_json::json!({"a": 7, "b": null, "c": "x\ny"});
        assert_eq!(read, serde_json::json!([row, row]));
        assert_eq!(json(&Table::default()), "[]\n");
    }
}
