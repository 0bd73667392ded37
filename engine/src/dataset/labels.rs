//! [`LabelMap`]: label codes to dense ids.

use std::collections::HashMap;

/// Label codes in order of appearance; a code's position is its provisional dense id. Threads see codes in different
/// orders, so ids are rewritten once the codes of all threads are known and sorted.
#[derive(Clone, Debug, Default)]
pub struct LabelMap {
    codes: Vec<i64>,
    ids: HashMap<i64, u8>,
}

/// Most classes a label may have: the last byte value marks a skipped row.
pub const MAX_CLASSES: usize = 255;

impl LabelMap {
    /// Knows no code yet.
    pub fn new() -> Self {
        LabelMap::default()
    }

    /// Knows `codes`, with ids in their order.
    ///
    /// # Panics
    /// If there are more than [`MAX_CLASSES`] of them or one occurs twice.
    pub fn with_codes(codes: &[i64]) -> Self {
        let mut map = LabelMap::new();
        for (i, &code) in codes.iter().enumerate() {
            let id = map.id(code).expect("at most 255 codes");
            assert_eq!(id as usize, i, "label code {code} occurs twice");
        }
        map
    }

    /// Id of a code, a new one if it is new; `None` if that would be the 256th class.
    pub fn id(&mut self, code: i64) -> Option<u8> {
        if let Some(&id) = self.ids.get(&code) {
            return Some(id);
        }
        if self.codes.len() == MAX_CLASSES {
            return None;
        }
        let id = self.codes.len() as u8;
        self.codes.push(code);
        self.ids.insert(code, id);
        Some(id)
    }

    /// Codes by id. Some may belong to no row that was kept: trust the counts of a report, not this list.
    pub fn codes(&self) -> &[i64] {
        &self.codes
    }

    /// Table from these provisional ids to the ids in `sorted`, a sorted list of codes. Ids whose code is not in it map
    /// to `absent`; 255 (a skipped row) maps to itself.
    pub fn to_sorted(&self, sorted: &[i64], absent: u8) -> [u8; 256] {
        let mut table = [absent; 256];
        for (id, code) in self.codes.iter().enumerate() {
            if let Ok(dense) = sorted.binary_search(code) {
                table[id] = dense as u8;
            }
        }
        table[255] = 255;
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_appearance_and_map_to_sorted_codes() {
        let mut map = LabelMap::new();
        assert_eq!([17, 2, 64, 2].map(|code| map.id(code).unwrap()), [0, 1, 2, 1]);
        let table = map.to_sorted(&[2, 9, 17], 254);
        assert_eq!([table[0], table[1], table[2], table[255]], [2, 0, 254, 255]);
    }

    #[test]
    fn the_256th_class_is_refused() {
        let mut map = LabelMap::new();
        assert!((0..255).all(|code| map.id(code).is_some()));
        assert_eq!(map.id(255), None);
        assert_eq!(map.id(254), Some(254));
    }
}
