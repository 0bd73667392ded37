//! [`Aligned`]: numbers that begin on a cache line, so that a vector load or store never straddles two.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A cache line, and the widest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Numbers of which every pattern of bits is a value.
///
/// # Safety
/// Implementors are plain numbers whose alignment divides 64.
pub(in crate::forest) unsafe trait Number: Copy {}

// SAFETY: plain numbers.
unsafe impl Number for u8 {}
// SAFETY: plain numbers.
unsafe impl Number for u16 {}
// SAFETY: plain numbers.
unsafe impl Number for u32 {}
// SAFETY: plain numbers.
unsafe impl Number for u64 {}

/// A vector of numbers that begins on a cache line.
#[derive(Clone)]
pub(in crate::forest) struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Number> Aligned<T> {
    /// `len` zeros.
    pub(in crate::forest) fn zeros(len: usize) -> Self {
        let mut zeros = Aligned { lines: Vec::new(), len: 0, of: PhantomData };
        zeros.resize(len);
        zeros
    }

    /// Makes it `len` long; what is new is 0 or a value it had before.
    pub(in crate::forest) fn resize(&mut self, len: usize) {
        self.lines.resize((len * size_of::<T>()).div_ceil(64), Line([0; 64]));
        self.len = len;
    }
}

impl<T: Number> Default for Aligned<T> {
    fn default() -> Self {
        Aligned::zeros(0)
    }
}

impl<T: Number> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `resize` keeps lines for `len` numbers; any bits are a number, and lines are aligned for them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Number> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<T: Number + fmt::Debug> fmt::Debug for Aligned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deref().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_on_a_line_and_keep_their_values() {
        let mut numbers = Aligned::<u16>::zeros(3);
        numbers[2] = 7;
        numbers.resize(1000);
        assert_eq!((numbers.len(), &numbers[..4]), (1000, &[0, 0, 7, 0][..]));
        assert_eq!(numbers.as_ptr().addr() % 64, 0);
        assert!(numbers.clone()[3..].iter().all(|&n| n == 0));
        assert!(Aligned::<u64>::default().is_empty());
    }
}
