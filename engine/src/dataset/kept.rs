//! [`Kept`]: values of a column that are needed once more, after they were binned.

/// Values in order. Those of colours are 16-bit integers, and kept as such: a quarter of the memory traffic.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// All values, as long as each of them is such an integer.
    short: Vec<u16>,
    /// Else all values.
    wide: Vec<f64>,
}

fn short(value: f64) -> Option<u16> {
    // −0 is not 0 here: what is kept is given back as it was.
    let short = value as u16;
    (f64::from(short).to_bits() == value.to_bits()).then_some(short)
}

impl Kept {
    pub(super) fn clear(&mut self) {
        self.short.clear();
        self.wide.clear();
    }

    pub(super) fn len(&self) -> usize {
        // One of the two is empty.
        self.short.len() + self.wide.len()
    }

    /// Appends values.
    pub(super) fn extend(&mut self, values: &[f64]) {
        let before = self.short.len();
        if self.wide.is_empty() {
            self.short.extend(values.iter().map_while(|&value| short(value)));
            if self.short.len() == before + values.len() {
                return;
            }
            self.short.truncate(before);
        }
        self.widen();
        self.wide.extend_from_slice(values);
    }

    /// Appends the entries of `table` at `indices`, all of which it has.
    pub(super) fn extend_from(&mut self, table: &Table, indices: &[u32]) {
        let at = |&index: &u32| index as usize;
        match (self.wide.is_empty(), &table.short) {
            (true, Some(short)) => self.short.extend(indices.iter().map(at).map(|at| short[at])),
            _ => {
                self.widen();
                self.wide.extend(indices.iter().map(at).map(|at| table.values[at]));
            }
        }
    }

    fn widen(&mut self) {
        self.wide.extend(self.short.drain(..).map(f64::from));
    }

    /// Copies the values `from..` to `to`.
    pub(super) fn copy_to(&self, from: usize, to: &mut [f64]) {
        if self.wide.is_empty() {
            let short = &self.short[from..from + to.len()];
            to.iter_mut().zip(short).for_each(|(to, &value)| *to = value.into());
        } else {
            to.copy_from_slice(&self.wide[from..from + to.len()]);
        }
    }
}

/// A dictionary from which values are kept.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) values: Vec<f64>,
    /// The same, if each of them is a 16-bit integer.
    short: Option<Vec<u16>>,
}

impl Table {
    pub(super) fn new(values: &[f64]) -> Table {
        Table { values: values.to_vec(), short: values.iter().map(|&value| short(value)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn gives_back_what_was_put_in(
            parts in prop::collection::vec((
                any::<bool>(),
                prop::collection::vec(prop_oneof![40 => (0u16..).prop_map(f64::from), 1 => any::<f64>(), 1 => Just(-0.0)], 1..9),
            ), 0..9),
        ) {
            let (mut kept, mut all) = (Kept::default(), Vec::new());
            for (by_index, values) in &parts {
                match by_index {
                    true => kept.extend_from(&Table::new(values), &Vec::from_iter(0..values.len() as u32)),
                    false => kept.extend(values),
                }
                all.extend(values.iter().map(|value| value.to_bits()));
            }
            prop_assert_eq!(kept.len(), all.len());
            let from = all.len() / 3;
            let mut found = vec![0.0; all.len() - from];
            kept.copy_to(from, &mut found);
            prop_assert_eq!(found.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), &all[from..]);
        }
    }
}
