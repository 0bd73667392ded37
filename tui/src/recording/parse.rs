//! One line of a journal, quickly.
//!
//! Nearly all lines of a long journal are pulses and shares of levels, written field by field in one order. Those are
//! read here without a general JSON parser, some ten times faster; whatever looks different is left to serde, so that
//! both always agree (`tests/recording.rs`).

use fractal_logs::{EventKind, Phase, RunEvent, Source, Subset};

/// The event of a line, if it is one of the frequent kinds and written as the journal's writer writes it.
pub(super) fn quick(line: &[u8]) -> Option<RunEvent> {
    let mut at = Cursor { rest: line };
    at.word(b"{\"t\":")?;
    let elapsed_us = at.number()?;
    at.word(b",\"src\":\"")?;
    let source = at.source()?;
    at.word(b",\"event\":\"")?;
    let kind = match at.until_quote()? {
        b"WorkerSampled" => EventKind::WorkerSampled {
            phase: at.named(b",\"phase\":\"", &Phase::ALL, Phase::name)?,
            rows_per_s: at.real(b",\"rows_per_s\":")?,
            bytes_per_s: at.real(b",\"bytes_per_s\":")?,
            rss_bytes: at.field(b",\"rss_bytes\":")?,
            peak_rss_bytes: at.field(b",\"peak_rss_bytes\":")?,
            cpu_us: at.field(b",\"cpu_us\":")?,
            exchanged_bytes: at.field(b",\"exchanged_bytes\":")?,
            throttled: at.optional(b",\"throttled\":")?,
        },
        b"LevelCounted" => EventKind::LevelCounted {
            batch: at.small(b",\"batch\":")?,
            level: at.small(b",\"level\":")?,
            group: at.small(b",\"group\":")?,
            rows: at.field(b",\"rows\":")?,
            busy_us: at.field(b",\"busy_us\":")?,
            cpu_us: at.field(b",\"cpu_us\":")?,
            waiting_us: at.field(b",\"waiting_us\":")?,
            sent_bytes: at.field(b",\"sent_bytes\":")?,
        },
        b"PartitionLoaded" => EventKind::PartitionLoaded {
            partition: at.small(b",\"partition\":")?,
            subset: at.named(b",\"subset\":\"", &Subset::ALL, Subset::name)?,
            rows: at.field(b",\"rows\":")?,
            skipped: at.field(b",\"skipped\":")?,
            read_bytes: at.field(b",\"read_bytes\":")?,
            wall_us: at.field(b",\"wall_us\":")?,
            cpu_us: at.field(b",\"cpu_us\":")?,
            io_wait_us: at.field(b",\"io_wait_us\":")?,
        },
        _ => return None,
    };
    at.word(b"}")?;
    // Nothing may follow, or it would be a line with more fields than are known here.
    at.rest.iter().all(u8::is_ascii_whitespace).then_some(RunEvent { elapsed_us, source, kind })
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Words have a known length, so that comparing them takes an instruction or two.
    fn word<const N: usize>(&mut self, word: &[u8; N]) -> Option<()> {
        let (first, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        (first == word).then_some(())
    }

    fn number(&mut self) -> Option<u64> {
        let (value, digits) = digits(self.rest);
        // JSON has no leading zeros; 20 digits may not fit.
        if digits == 0 || digits > 19 || (digits > 1 && self.rest[0] == b'0') {
            return None;
        }
        self.rest = &self.rest[digits..];
        // A fraction or an exponent makes it another kind of number.
        (!matches!(self.rest.first(), Some(b'.' | b'e' | b'E'))).then_some(value)
    }

    fn field<const N: usize>(&mut self, name: &[u8; N]) -> Option<u64> {
        self.word(name)?;
        self.number()
    }

    fn small<const N: usize>(&mut self, name: &[u8; N]) -> Option<u32> {
        u32::try_from(self.field(name)?).ok()
    }

    /// One of some words.
    fn named<T: Copy, const N: usize>(&mut self, field: &[u8; N], all: &[T], name: fn(T) -> &'static str) -> Option<T> {
        self.word(field)?;
        let word = self.until_quote()?;
        all.iter().copied().find(|&one| name(one).as_bytes() == word)
    }

    fn optional<const N: usize>(&mut self, name: &[u8; N]) -> Option<Option<u64>> {
        self.word(name)?;
        match self.rest.strip_prefix(b"null") {
            Some(rest) => {
                self.rest = rest;
                Some(None)
            }
            None => self.number().map(Some),
        }
    }

    fn real<const N: usize>(&mut self, name: &[u8; N]) -> Option<f64> {
        self.word(name)?;
        let length = self.rest.iter().position(|b| matches!(b, b',' | b'}'))?;
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        if let Some(value) = decimal(text) {
            return Some(value);
        }
        if text == b"null" {
            return Some(f64::NAN);
        }
        // What Rust reads and JSON does not (`inf`, `1_0`, `+1`) is left to serde to refuse.
        let plain = text.first().is_some_and(|b| b.is_ascii_digit() || *b == b'-')
            && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
        std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
    }

    fn until_quote(&mut self) -> Option<&'a [u8]> {
        let length = self.rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// `w0` and `w0t1`; the runner writes none of the frequent events.
    fn source(&mut self) -> Option<Source> {
        self.word(b"w")?;
        let worker = u32::try_from(self.number()?).ok()?;
        let source = match self.rest.strip_prefix(b"t") {
            None => Source::Worker(worker),
            Some(rest) => {
                self.rest = rest;
                Source::Thread { worker, thread: u32::try_from(self.number()?).ok()? }
            }
        };
        self.word(b"\"")?;
        Some(source)
    }
}

/// The number that the leading digits make, and how many they are; with 20 or more the number has no meaning.
fn digits(text: &[u8]) -> (u64, usize) {
    let mut value = 0u64;
    for (i, byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (value, i);
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    (value, text.len())
}

/// A number such as `2400000.5` of at most 15 digits. Then digits and power of ten are both exact in an f64, and their
/// quotient is rounded once, as it should be (Clinger, PLDI 1990).
fn decimal(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (whole, before) = digits(text);
    if before == 0 || text.len() > 16 || (before > 1 && text[0] == b'0') {
        return None;
    }
    let Some(fraction) = text.get(before + 1..) else { return (before < 16).then_some(whole as f64) };
    let (part, after) = digits(fraction);
    let plain = text[before] == b'.' && after > 0 && after == fraction.len();
    plain.then(|| (whole as f64 * POWERS[after] + part as f64) / POWERS[after])
}
