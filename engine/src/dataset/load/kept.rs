//! [`Kept`]: values of a column that are needed once more, after they were binned.

use super::entries::Entries;

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

    /// Appends the values of `table` at `indices`.
    pub(super) fn extend_from(&mut self, table: &Table, indices: &[u16]) {
        if self.wide.is_empty() && table.all_short {
            return table.short.append(indices, &mut self.short);
        }
        self.widen();
        table.values.append(indices, &mut self.wide);
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
    pub(super) values: Entries<f64>,
    /// The same, if each of them is a 16-bit integer.
    short: Entries<u16>,
    all_short: bool,
}

impl Table {
    /// Takes the values of the next dictionary.
    pub(super) fn set(&mut self, values: &[f64]) {
        let table = self.values.of(values.len());
        table.copy_from_slice(&values[..table.len()]);
        let numbers = self.short.of(values.len());
        let known =
            numbers.iter_mut().zip(values).map_while(|(number, &value)| short(value).map(|found| *number = found));
        self.all_short = known.count() == numbers.len();
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
            let (mut kept, mut table, mut all) = (Kept::default(), Table::default(), Vec::new());
            for (by_index, values) in &parts {
                match by_index {
                    true => {
                        table.set(values);
                        kept.extend_from(&table, &Vec::from_iter(0..values.len() as u16));
                    }
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
