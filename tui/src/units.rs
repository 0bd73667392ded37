//! Numbers and times as a person reads them at a glance: those of [`fractal_logs::units`], and what a screen needs besides.

pub use fractal_logs::units::{bytes_of, count, duration, seconds, short};

/// Bytes: `5.4 GiB` (or `5.80 GB` where decimal units are preferred).
pub fn bytes(n: u64, decimal: bool) -> String {
    if !decimal {
        return fractal_logs::units::bytes(n);
    }
    let text = short(n as f64);
    if text.contains(' ') { format!("{text}B") } else { format!("{text} B") }
}

/// A moment of a run of length `total_us`: `0:07.2` in a short run, `17:52` or `1:17:52` in a longer one.
pub fn clock(us: u64, total_us: u64) -> String {
    let s = us / 1_000_000;
    match total_us {
        0..600_000_000 => format!("{}:{:02}.{}", s / 60, s % 60, us / 100_000 % 10),
        600_000_000..3_600_000_000 => format!("{}:{:02}", s / 60, s % 60),
        _ => format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60),
    }
}

/// A moment on an axis: `500 ms`, `2 s`, `12 m`, `1h30`, as short as it can be.
pub fn axis(us: u64) -> String {
    match us {
        0 => "0".into(),
        us if us < 1_000_000 => format!("{} ms", us / 1_000),
        us if us < 60_000_000 && us % 1_000_000 == 0 => format!("{} s", us / 1_000_000),
        us if us < 60_000_000 => format!("{:.1} s", us as f64 / 1e6),
        us if us < 3_600_000_000 && us % 60_000_000 == 0 => format!("{} m", us / 60_000_000),
        us if us < 3_600_000_000 => format!("{}m{:02}", us / 60_000_000, us / 1_000_000 % 60),
        us => format!("{}h{:02}", us / 3_600_000_000, us / 60_000_000 % 60),
    }
}

/// Reads a moment: `12m`, `1h02m`, `90s`, `17:52`, `1:17:52`, `830ms`, `2.5` (seconds), `50%` of `total_us`, `end`.
pub fn parse_moment(text: &str, total_us: u64) -> Result<u64, String> {
    let text = text.trim();
    let bad = || format!("'{text}' is no time: 12m, 1h02m, 90s, 17:52, 1:17:52, 50%, end");
    if text == "end" {
        return Ok(total_us);
    }
    if let Some(share) = text.strip_suffix('%') {
        let share: f64 = share.trim().parse().map_err(|_| bad())?;
        return Ok((total_us as f64 * (share / 100.0).clamp(0.0, 1.0)) as u64);
    }
    if text.contains(':') {
        return text
            .split(':')
            .try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok().filter(|v| *v >= 0.0)?))
            .map(|s| (s * 1e6) as u64)
            .ok_or_else(bad);
    }
    let mut sum = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let value: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let letters = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| n + digits);
        sum += value
            * match rest[digits..letters].trim() {
                "ms" => 1e-3,
                "" | "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return Err(bad()),
            };
        rest = &rest[letters..];
    }
    if text.is_empty() { Err(bad()) } else { Ok((sum * 1e6) as u64) }
}

/// How long ago: `now`, `12 s ago`, `5 min ago`, `3 h ago`, `6 days ago`.
pub fn ago(ms: u64) -> String {
    match ms / 1000 {
        0..2 => "now".into(),
        s @ 2..100 => format!("{s} s ago"),
        s @ 100..5400 => format!("{} min ago", s / 60),
        s @ 5400..129_600 => format!("{} h ago", s / 3600),
        s => format!("{} days ago", s / 86400),
    }
}

/// `text` in at most `width` columns, its end replaced by `…` where it is longer. (Names and messages here are ASCII or
/// single-width; the terminal's own measure is used when drawing.)
pub fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        short.push('…');
    }
    short
}

/// `text` in lines of at most `width` columns, broken between words.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_string());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(5_800_000_000, false), "5.4 GiB");
        assert_eq!(bytes(5_800_000_000, true), "5.80 GB");
        assert_eq!(clock(7_250_000, 10_000_000), "0:07.2");
        assert_eq!(clock(1_072_000_000, 1_539_000_000), "17:52");
    }

    #[test]
    fn moments_are_read_in_every_form_that_is_shown() {
        let total = 2_000_000_000;
        for (text, us) in [
            ("12m", 720_000_000),
            ("1h02m", 3_720_000_000),
            ("90s", 90_000_000),
            ("17:52", 1_072_000_000),
            ("1:17:52", 4_672_000_000),
            ("830ms", 830_000),
            ("2.5", 2_500_000),
            ("50%", 1_000_000_000),
            ("end", total),
            ("0:07.2", 7_200_000),
        ] {
            assert_eq!(parse_moment(text, total), Ok(us), "{text}");
        }
        for text in ["", "x", "12q", "1:x", "-5"] {
            assert!(parse_moment(text, total).is_err(), "{text}");
        }
    }
}
