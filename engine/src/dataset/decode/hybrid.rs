//! Parquet's hybrid of run lengths and bit packing, in which levels and dictionary indices are stored
//! (parquet-format, `Encodings.md`, "RLE/Bit-Packing Hybrid").

use super::super::error::Fault;

/// What the numbers become: one wide enough for those of the stream.
pub(super) trait Index: Copy + Default + Ord {
    /// The lowest bits of a word.
    fn of(word: u32) -> Self;
    fn number(self) -> usize;
}

impl Index for u16 {
    fn of(word: u32) -> u16 {
        word as u16
    }
    fn number(self) -> usize {
        self.into()
    }
}

impl Index for u32 {
    fn of(word: u32) -> u32 {
        word
    }
    fn number(self) -> usize {
        self as usize
    }
}

/// Decodes a stream of unsigned numbers of `width` bits.
#[derive(Debug)]
pub(super) struct Hybrid<'a> {
    bytes: &'a [u8],
    width: usize,
    run: Run,
    /// Rest of a packed group of eight that a reader stopped in: numbers `group_at..group_end` of it.
    group: [u32; 8],
    group_at: usize,
    group_end: usize,
}

#[derive(Clone, Copy, Debug)]
enum Run {
    Repeated { value: u32, left: usize },
    Packed { groups: usize },
}

/// Bytes of which an unpacking step may read any: eight numbers of 32 bits, and eight bytes for the last word.
const WINDOW: usize = 40;
/// The same for a step that takes every third of 24 numbers.
const WIDE_WINDOW: usize = 104;

fn early() -> Fault {
    Fault::damage("has a page that ends before its values do")
}

impl<'a> Hybrid<'a> {
    pub(super) fn new(bytes: &'a [u8], width: u32) -> Result<Hybrid<'a>, Fault> {
        if width > 32 {
            return Err(Fault::damage(format!("has indices of {width} bits")));
        }
        let run = Run::Repeated { value: 0, left: 0 };
        Ok(Hybrid { bytes, width: width as usize, run, group: [0; 8], group_at: 0, group_end: 0 })
    }

    /// Fills `out`.
    pub(super) fn read<T: Index>(&mut self, mut out: &mut [T]) -> Result<(), Fault> {
        while !out.is_empty() {
            if self.group_at < self.group_end {
                let n = out.len().min(self.group_end - self.group_at);
                let group = &self.group[self.group_at..self.group_at + n];
                out[..n].iter_mut().zip(group).for_each(|(out, &number)| *out = T::of(number));
                self.group_at += n;
                out = &mut out[n..];
                continue;
            }
            match &mut self.run {
                Run::Repeated { left: 0, .. } | Run::Packed { groups: 0 } => self.next_run()?,
                Run::Repeated { value, left } => {
                    let n = out.len().min(*left);
                    out[..n].fill(T::of(*value));
                    *left -= n;
                    out = &mut out[n..];
                }
                Run::Packed { groups } => {
                    let n = (out.len() / 8).min(*groups);
                    if n == 0 {
                        *groups -= 1;
                        self.open_group()?;
                        continue;
                    }
                    *groups -= n;
                    let (now, later) = out.split_at_mut(n * 8);
                    let stored = n * self.width;
                    if self.bytes.len() < stored {
                        return Err(early());
                    }
                    unpack(self.width, self.bytes, now);
                    self.bytes = &self.bytes[stored..];
                    out = later;
                }
            }
        }
        Ok(())
    }

    /// Fills `out` with every third number, after `lead` others (0 to 2) that come before the first.
    pub(super) fn read_thirds<T: Index>(&mut self, lead: usize, mut out: &mut [T]) -> Result<(), Fault> {
        let mut lead = lead;
        while !out.is_empty() {
            // Three whole groups hold eight triples.
            if let (Run::Packed { groups }, true, 2) = (&mut self.run, self.group_at == self.group_end, lead) {
                let n = (out.len() / 8).min(*groups / 3).min(self.bytes.len() / (self.width * 3).max(1));
                if n > 0 {
                    *groups -= n * 3;
                    let (now, later) = out.split_at_mut(n * 8);
                    unpack_thirds(self.width, self.bytes, now);
                    self.bytes = &self.bytes[n * 3 * self.width..];
                    out = later;
                    continue;
                }
            }
            let mut triple = [T::default(); 3];
            self.read(&mut triple[..=lead])?;
            out[0] = triple[lead];
            out = &mut out[1..];
            lead = 2;
        }
        Ok(())
    }

    /// The numbers at these places of the stream, which ascend.
    pub(super) fn pick<T: Index>(
        mut self,
        places: impl IntoIterator<Item = usize>,
        mut put: impl FnMut(T),
    ) -> Result<(), Fault> {
        let mask = ((1u64 << self.width) - 1) as u32;
        let mut run = Stored::Repeated { value: 0, times: 0 };
        let (mut start, mut end) = (0, 0);
        for place in places {
            while place >= end {
                run = self.stored()?.ok_or_else(early)?;
                start = end;
                end += match run {
                    Stored::Repeated { times, .. } => times,
                    Stored::Packed { groups, .. } => groups * 8,
                };
            }
            put(T::of(match run {
                Stored::Repeated { value, .. } => value,
                Stored::Packed { bytes, .. } => {
                    let bit = (place - start) * self.width;
                    let there = bytes.get(bit / 8..).filter(|_| bit + self.width <= bytes.len() * 8);
                    let there = there.ok_or_else(early)?;
                    let mut word = [0; 8];
                    match there.first_chunk::<8>() {
                        Some(whole) => word = *whole,
                        None => word[..there.len()].copy_from_slice(there),
                    }
                    (u64::from_le_bytes(word) >> (bit % 8)) as u32 & mask
                }
            }));
        }
        Ok(())
    }

    /// The next run as it is stored, for readers that need not unpack it: see [`Stored`].
    pub(super) fn stored(&mut self) -> Result<Option<Stored<'a>>, Fault> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        self.next_run()?;
        Ok(Some(match self.run {
            Run::Repeated { value, left } => {
                self.run = Run::Repeated { value, left: 0 };
                Stored::Repeated { value, times: left }
            }
            Run::Packed { groups } => {
                let (bytes, rest) = self.bytes.split_at(groups.saturating_mul(self.width).min(self.bytes.len()));
                self.bytes = rest;
                self.run = Run::Packed { groups: 0 };
                Stored::Packed { groups, bytes }
            }
        }))
    }

    fn next_run(&mut self) -> Result<(), Fault> {
        let mut header = 0u64;
        let mut shift = 0;
        loop {
            let (&byte, rest) = self.bytes.split_first().ok_or_else(early)?;
            self.bytes = rest;
            header |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 35 {
                return Err(Fault::damage("has a run of impossible length"));
            }
        }
        let count = (header >> 1) as usize;
        if count == 0 {
            return Err(Fault::damage("has an empty run"));
        }
        if header & 1 == 1 {
            self.run = Run::Packed { groups: count };
            return Ok(());
        }
        let (value, rest) = self.bytes.split_at_checked(self.width.div_ceil(8)).ok_or_else(early)?;
        self.bytes = rest;
        let mut word = [0; 4];
        word[..value.len()].copy_from_slice(value);
        self.run = Run::Repeated { value: u32::from_le_bytes(word), left: count };
        Ok(())
    }

    /// Unpacks one group to be read in parts. A writer may leave out the padding of the last group, so that only some of
    /// its numbers are there.
    fn open_group(&mut self) -> Result<(), Fault> {
        let taken = self.width.min(self.bytes.len());
        let there = (taken * 8).checked_div(self.width).unwrap_or(8);
        if there == 0 {
            return Err(early());
        }
        let mut window = [0; WINDOW];
        window[..taken].copy_from_slice(&self.bytes[..taken]);
        unpack(self.width, &window, &mut self.group);
        self.bytes = &self.bytes[taken..];
        (self.group_at, self.group_end) = (0, there);
        Ok(())
    }
}

/// A run as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stored<'a> {
    Repeated {
        value: u32,
        times: usize,
    },
    Packed {
        /// Groups of eight numbers.
        groups: usize,
        /// Fewer than they need if the padding of the last one is left out.
        bytes: &'a [u8],
    },
}

macro_rules! by_width {
    ($function:ident, $width:expr, $bytes:expr, $out:expr, $($known:literal)*) => {
        match $width {
            $($known => $function::<$known, T>($bytes, $out),)*
            _ => unreachable!("widths are checked when a stream is opened"),
        }
    };
    ($function:ident, $width:expr, $bytes:expr, $out:expr) => {
        by_width!($function, $width, $bytes, $out,
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
    };
}

/// Unpacks whole groups of eight, all of whose bytes are there.
fn unpack<T: Index>(width: usize, bytes: &[u8], out: &mut [T]) {
    by_width!(unpack_width, width, bytes, out);
}

/// The third, sixth, … of the numbers in groups of eight, all of whose bytes are there: eight of each three groups.
fn unpack_thirds<T: Index>(width: usize, bytes: &[u8], out: &mut [T]) {
    by_width!(unpack_thirds_width, width, bytes, out);
}

/// With the width known the offsets and shifts below are constants.
fn unpack_width<const WIDTH: usize, T: Index>(bytes: &[u8], out: &mut [T]) {
    if WIDTH == 8 {
        return out.iter_mut().zip(bytes).for_each(|(number, &byte)| *number = T::of(byte.into()));
    }
    unpack_steps(bytes, out, WIDTH, |window: &[u8; WINDOW], k| number::<WIDTH>(window, k));
}

fn unpack_thirds_width<const WIDTH: usize, T: Index>(bytes: &[u8], out: &mut [T]) {
    unpack_steps(bytes, out, WIDTH * 3, |window: &[u8; WIDE_WINDOW], k| number::<WIDTH>(window, k * 3 + 2));
}

/// Makes eight numbers of each `step` bytes: number k by `take` from the window that begins with these bytes. What else
/// lies in the window belongs to later numbers, or is 0.
#[inline(always)]
fn unpack_steps<const WINDOW: usize, T: Index>(
    bytes: &[u8],
    out: &mut [T],
    step: usize,
    take: impl Fn(&[u8; WINDOW], usize) -> u32,
) {
    for (i, eight) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let bytes = &bytes[i * step..];
        let mut copy = [0; WINDOW];
        let window = bytes.first_chunk::<WINDOW>().unwrap_or_else(|| {
            copy[..bytes.len()].copy_from_slice(bytes);
            &copy
        });
        eight.iter_mut().enumerate().for_each(|(k, out)| *out = T::of(take(window, k)));
    }
}

#[inline(always)]
fn number<const WIDTH: usize>(window: &[u8], k: usize) -> u32 {
    let bit = k * WIDTH;
    let word = window[bit / 8..].first_chunk::<8>().expect("a window is eight bytes longer than its numbers");
    ((u64::from_le_bytes(*word) >> (bit % 8)) & ((1u64 << WIDTH) - 1)) as u32
}

/// Bits that hold `value`.
pub(super) fn bits(value: i16) -> u32 {
    u16::BITS - (value.max(0) as u16).leading_zeros()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The format read as its specification reads: bit by bit.
    fn encode(runs: &[(bool, Vec<u32>)], width: usize) -> (Vec<u8>, Vec<u32>) {
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        let varint = |bytes: &mut Vec<u8>, mut n: u64| {
            while n >= 0x80 {
                bytes.push(n as u8 | 0x80);
                n >>= 7;
            }
            bytes.push(n as u8);
        };
        let mask = ((1u64 << width) - 1) as u32;
        for (packed, run) in runs {
            if *packed {
                let groups = run.len().div_ceil(8);
                varint(&mut bytes, (groups as u64) << 1 | 1);
                let mut bits = vec![false; groups * 8 * width];
                for (i, value) in run.iter().map(|value| value & mask).enumerate() {
                    (0..width).for_each(|b| bits[i * width + b] = value >> b & 1 == 1);
                }
                bytes.extend(
                    bits.chunks(8).map(|byte| byte.iter().rev().fold(0u8, |sum, &bit| sum << 1 | u8::from(bit))),
                );
                values.extend(run.iter().map(|value| value & mask));
                values.extend(std::iter::repeat_n(0, groups * 8 - run.len()));
            } else {
                varint(&mut bytes, (run.len() as u64) << 1);
                let value = run[0] & mask;
                bytes.extend(&value.to_le_bytes()[..width.div_ceil(8)]);
                values.extend(std::iter::repeat_n(value, run.len()));
            }
        }
        (bytes, values)
    }

    proptest! {
        #[test]
        fn reads_any_stream_in_any_steps(
            runs in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u32>(), 1..70)), 1..8),
            width in 0usize..=32,
            steps in prop::collection::vec(1usize..50, 1..10),
        ) {
            let (bytes, expected) = encode(&runs, width);
            let mut hybrid = Hybrid::new(&bytes, width as u32).unwrap();
            let mut values = vec![0u32; expected.len()];
            let mut at = 0;
            for step in steps.iter().cycle() {
                let end = (at + step).min(values.len());
                hybrid.read(&mut values[at..end]).unwrap();
                at = end;
                if at == values.len() {
                    break;
                }
            }
            prop_assert_eq!(&values, &expected);
            prop_assert!(Hybrid::new(&bytes, width as u32).unwrap().read(&mut vec![0u32; at + 1]).is_err());
        }

        #[test]
        fn thirds_and_picks_are_those_of_all(
            runs in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u32>(), 1..300)), 1..6),
            width in 0usize..=32,
            lead in 0usize..3,
            steps in prop::collection::vec(1usize..90, 1..10),
            gaps in prop::collection::vec(0usize..40, 0..40),
        ) {
            let (bytes, all) = encode(&runs, width);
            let expected: Vec<u32> = all.iter().skip(lead).step_by(3).copied().collect();
            let mut hybrid = Hybrid::new(&bytes, width as u32).unwrap();
            let (mut thirds, mut at, mut before) = (vec![0u32; expected.len()], 0, lead);
            for step in steps.iter().cycle() {
                let end = (at + step).min(thirds.len());
                hybrid.read_thirds(before, &mut thirds[at..end]).unwrap();
                (at, before) = (end, 2);
                if at == thirds.len() {
                    break;
                }
            }
            prop_assert_eq!(thirds, expected);
            prop_assert!(hybrid.read_thirds(2, &mut [0u32]).is_err());

            let places: Vec<usize> =
                gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).filter(|at| *at < all.len()).collect();
            let mut picked: Vec<u32> = Vec::new();
            let hybrid = || Hybrid::new(&bytes, width as u32).unwrap();
            hybrid().pick(places.iter().copied(), |number| picked.push(number)).unwrap();
            prop_assert_eq!(picked, places.iter().map(|&at| all[at]).collect::<Vec<_>>());
            prop_assert!(hybrid().pick([all.len()], |_: u32| ()).is_err());
        }

        #[test]
        fn padding_may_be_left_out(
            numbers in prop::collection::vec(any::<u32>(), 1..30),
            width in 1usize..=32,
            step in 1usize..9,
        ) {
            let (bytes, all) = encode(&[(true, numbers.clone())], width);
            // One byte of run header.
            let bytes = &bytes[..1 + (numbers.len() * width).div_ceil(8)];
            let mut hybrid = Hybrid::new(bytes, width as u32).unwrap();
            let mut values = vec![0u32; numbers.len()];
            values.chunks_mut(step).for_each(|step| hybrid.read(step).unwrap());
            prop_assert_eq!(&values[..], &all[..numbers.len()]);
            // The last byte may hold a few more.
            prop_assert!(hybrid.read(&mut [0u32; 8]).is_err());
            let mut picked: Vec<u32> = Vec::new();
            let hybrid = Hybrid::new(bytes, width as u32).unwrap();
            hybrid.pick(0..numbers.len(), |number| picked.push(number)).unwrap();
            prop_assert_eq!(picked, values);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), width in 0u32..40) {
            if let Ok(mut hybrid) = Hybrid::new(&bytes, width) {
                let _ = hybrid.read(&mut [0u32; 100]);
            }
            if let Ok(mut hybrid) = Hybrid::new(&bytes, width) {
                while let Ok(Some(_)) = hybrid.stored() {}
            }
            if let Ok(mut hybrid) = Hybrid::new(&bytes, width) {
                let _ = hybrid.read_thirds(1, &mut [0u16; 100]);
            }
            if let Ok(hybrid) = Hybrid::new(&bytes, width) {
                let _ = hybrid.pick((0..1000).step_by(7), |_: u16| ());
            }
        }
    }
}
