//! Parquet's hybrid of run lengths and bit packing, in which levels and dictionary indices are stored
//! (parquet-format, `Encodings.md`, "RLE/Bit-Packing Hybrid").

use super::super::error::Fault;

/// Decodes a stream of unsigned numbers of `width` bits.
#[derive(Debug)]
pub(super) struct Hybrid<'a> {
    bytes: &'a [u8],
    width: usize,
    run: Run,
    /// Rest of a packed group of eight that a reader stopped in.
    group: [u32; 8],
    group_at: usize,
}

#[derive(Clone, Copy, Debug)]
enum Run {
    Repeated { value: u32, left: usize },
    Packed { groups: usize },
}

/// Bytes of which an unpacking step may read any: eight numbers of 32 bits, and eight bytes for the last word.
const WINDOW: usize = 40;

fn early() -> Fault {
    Fault::damage("has a page that ends before its values do")
}

impl<'a> Hybrid<'a> {
    pub(super) fn new(bytes: &'a [u8], width: u32) -> Result<Hybrid<'a>, Fault> {
        if width > 32 {
            return Err(Fault::damage(format!("has indices of {width} bits")));
        }
        let run = Run::Repeated { value: 0, left: 0 };
        Ok(Hybrid { bytes, width: width as usize, run, group: [0; 8], group_at: 8 })
    }

    /// Fills `out`.
    pub(super) fn read(&mut self, mut out: &mut [u32]) -> Result<(), Fault> {
        while !out.is_empty() {
            if self.group_at < 8 {
                let n = out.len().min(8 - self.group_at);
                out[..n].copy_from_slice(&self.group[self.group_at..self.group_at + n]);
                self.group_at += n;
                out = &mut out[n..];
                continue;
            }
            match &mut self.run {
                Run::Repeated { left: 0, .. } | Run::Packed { groups: 0 } => self.next_run()?,
                Run::Repeated { value, left } => {
                    let n = out.len().min(*left);
                    out[..n].fill(*value);
                    *left -= n;
                    out = &mut out[n..];
                }
                Run::Packed { groups } => {
                    let n = (out.len() / 8).min(*groups);
                    if n == 0 {
                        *groups -= 1;
                        let mut group = [0; 8];
                        self.unpack(&mut group, out.len())?;
                        (self.group, self.group_at) = (group, 0);
                        continue;
                    }
                    *groups -= n;
                    let (now, later) = out.split_at_mut(n * 8);
                    self.unpack(now, n * 8)?;
                    out = later;
                }
            }
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
                let (packed, rest) = self.bytes.split_at((groups * self.width).min(self.bytes.len()));
                self.bytes = rest;
                self.run = Run::Packed { groups: 0 };
                Stored::Packed(packed)
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

    /// Unpacks whole groups of eight into `out`, of which `wanted` numbers must really be there (a writer may leave out
    /// the padding of the last group).
    fn unpack(&mut self, out: &mut [u32], wanted: usize) -> Result<(), Fault> {
        let stored = out.len() / 8 * self.width;
        if self.bytes.len() < stored && self.bytes.len() * 8 < wanted * self.width {
            return Err(early());
        }
        let taken = stored.min(self.bytes.len());
        unpack(self.width, self.bytes, taken, out);
        self.bytes = &self.bytes[taken..];
        Ok(())
    }
}

/// A run as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stored<'a> {
    Repeated { value: u32, times: usize },
    Packed(&'a [u8]),
}

fn unpack(width: usize, bytes: &[u8], end: usize, out: &mut [u32]) {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_width::<$width>(bytes, end, out),)*
                _ => unreachable!("widths are checked when a stream is opened"),
            }
        };
    }
    by_width!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

/// With the width known the offsets and shifts below are constants.
fn unpack_width<const WIDTH: usize>(bytes: &[u8], end: usize, out: &mut [u32]) {
    let mut at = 0;
    for group in out.as_chunks_mut::<8>().0 {
        match bytes[at..].first_chunk::<WINDOW>() {
            // What lies past the end belongs to later runs: read, but masked away.
            Some(window) if at + WIDTH <= end => unpack_group::<WIDTH>(window, group),
            _ => {
                let mut window = [0; WINDOW];
                let rest = &bytes[at.min(end)..end.min(at + WIDTH)];
                window[..rest.len()].copy_from_slice(rest);
                unpack_group::<WIDTH>(&window, group);
            }
        }
        at = (at + WIDTH).min(end);
    }
}

#[inline(always)]
fn unpack_group<const WIDTH: usize>(window: &[u8; WINDOW], group: &mut [u32; 8]) {
    let mask = (1u64 << WIDTH) - 1;
    for (k, value) in group.iter_mut().enumerate() {
        let bit = k * WIDTH;
        let word = window[bit / 8..].first_chunk::<8>().expect("the window is eight bytes longer than a group");
        *value = ((u64::from_le_bytes(*word) >> (bit % 8)) & mask) as u32;
    }
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
            let mut values = vec![0; expected.len()];
            let mut at = 0;
            for step in steps.iter().cycle() {
                let end = (at + step).min(values.len());
                hybrid.read(&mut values[at..end]).unwrap();
                at = end;
                if at == values.len() {
                    break;
                }
            }
            prop_assert_eq!(values, expected);
            prop_assert!(Hybrid::new(&bytes, width as u32).unwrap().read(&mut vec![0; at + 1]).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), width in 0u32..40) {
            if let Ok(mut hybrid) = Hybrid::new(&bytes, width) {
                let _ = hybrid.read(&mut [0; 100]);
            }
            if let Ok(mut hybrid) = Hybrid::new(&bytes, width) {
                while let Ok(Some(_)) = hybrid.stored() {}
            }
        }
    }
}
