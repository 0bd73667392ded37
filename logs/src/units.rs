//! Numbers, sizes and times as a person reads them at a glance.

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

/// Bytes: `5.4 GiB`, `512 MiB`.
pub fn bytes(n: u64) -> String {
    let (value, unit) = binary(n);
    match unit {
        "B" => format!("{n} B"),
        _ if value < 99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
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
        assert_eq!([0, 999, 1000, 59_109_292].map(count), ["0", "999", "1,000", "59,109,292"]);
        assert_eq!([12, 2048, 512 << 20, 3 << 29].map(bytes), ["12 B", "2.0 KiB", "512 MiB", "1.5 GiB"]);
        assert_eq!(bytes_of(5_800_000_000, 7 << 30), "5.4/7.0 GiB");
        let times = [870, 9_000, 830_000, 3_100_000, 125_000_000, 13_920_000_000, 187_200_000_000];
        assert_eq!(times.map(duration), ["870 µs", "9.0 ms", "830 ms", "3.10 s", "2m05s", "3h52m", "2d04h"]);
        assert_eq!([0.83, f64::NAN].map(seconds), ["830 ms", "–"]);
    }
}
