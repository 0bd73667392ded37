//! Numbers and times as a person reads them at a glance.

/// `18.1 M`, `940`, `1.2 k`: three digits and a letter.
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let mut size = value.abs();
    let mut letter = "";
    for next in [" k", " M", " G", " T"] {
        if size < 999.5 {
            break;
        }
        size /= 1000.0;
        letter = next;
    }
    let digits = match size {
        _ if letter.is_empty() && size.fract() == 0.0 => format!("{size:.0}"),
        s if s < 9.995 => format!("{s:.2}"),
        s if s < 99.95 => format!("{s:.1}"),
        s => format!("{s:.0}"),
    };
    format!("{sign}{digits}{letter}")
}

/// `59,109,292`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes: `5.4 GiB` (or `5.80 GB` where decimal units are preferred).
pub fn bytes(n: u64, decimal: bool) -> String {
    if decimal {
        let text = short(n as f64);
        return if text.contains(' ') { format!("{text}B") } else { format!("{text} B") };
    }
    let (value, unit) = binary(n);
    match unit {
        "B" => format!("{n} B"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

fn binary(n: u64) -> (f64, &'static str) {
    let mut value = n as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    (value, unit)
}

/// A share of a whole in the whole's unit: `5.4/7.0 GiB`.
pub fn bytes_of(part: u64, whole: u64) -> String {
    let (value, unit) = binary(whole);
    if unit == "B" {
        return format!("{part}/{whole} B");
    }
    let scale = whole as f64 / value;
    format!("{:.1}/{value:.1} {unit}", part as f64 / scale)
}

/// A length of time: `870 µs`, `9 ms`, `3.1 s`, `2m05s`, `3h52m`, `2d04h`.
pub fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..10_000_000 => format!("{:.2} s", us as f64 / 1e6),
        10_000_000..60_000_000 => format!("{:.1} s", us as f64 / 1e6),
        60_000_000..3_600_000_000 => format!("{}m{:02}s", us / 60_000_000, us / 1_000_000 % 60),
        3_600_000_000..86_400_000_000 => format!("{}h{:02}m", us / 3_600_000_000, us / 60_000_000 % 60),
        _ => format!("{}d{:02}h", us / 86_400_000_000, us / 3_600_000_000 % 24),
    }
}

/// Seconds, as [`duration`].
pub fn seconds(s: f64) -> String {
    if s.is_finite() && s >= 0.0 { duration((s * 1e6).min(1e18) as u64) } else { "–".into() }
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
        assert_eq!(
            [0.0, 12.0, 0.5, 999.0, 1200.0, 18_100_000.0].map(short),
            ["0", "12", "0.50", "999", "1.20 k", "18.1 M"]
        );
        assert_eq!(short(f64::NAN), "–");
        assert_eq!(count(59_109_292), "59,109,292");
        assert_eq!(bytes(5_800_000_000, false), "5.4 GiB");
        assert_eq!(bytes(5_800_000_000, true), "5.80 GB");
        assert_eq!(bytes_of(5_800_000_000, 7 << 30), "5.4/7.0 GiB");
        let times = [870, 9_000, 3_100_000, 125_000_000, 13_920_000_000, 187_200_000_000];
        assert_eq!(times.map(duration), ["870 µs", "9.0 ms", "3.10 s", "2m05s", "3h52m", "2d04h"]);
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
