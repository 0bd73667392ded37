//! [`Entries`]: what is looked up by a dictionary's indices.

/// Indices of two bytes: larger dictionaries are rare.
const ALL: usize = 1 << 16;

/// An entry for each of a dictionary's values, as far as two bytes reach. The table has room for every index, so that
/// looking up needs no check; it is allocated once, and what is beyond the dictionary stays untouched.
#[derive(Debug, Default)]
pub(super) struct Entries<T> {
    table: Vec<T>,
}

impl<T: Copy + Default> Entries<T> {
    /// Room for the entries of a dictionary of `len` values (or of the first of them), to be filled.
    pub(super) fn of(&mut self, len: usize) -> &mut [T] {
        self.table.resize(ALL, T::default());
        &mut self.table[..len.min(ALL)]
    }

    /// Entries by index; past the dictionary, anything.
    pub(super) fn table(&self) -> &[T; ALL] {
        self.table.first_chunk().expect("a dictionary comes before its indices")
    }

    /// Appends the entries at `indices`.
    pub(super) fn append(&self, indices: &[u16], to: &mut Vec<T>) {
        let table = self.table();
        to.extend(indices.iter().map(|&index| table[usize::from(index)]));
    }
}
