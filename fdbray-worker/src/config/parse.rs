//! Numbers, sizes and times as people write them.

use std::time::Duration;

/// One cpu, one gpu, one of a named resource: amounts are counted in ten-thousandths.
pub const UNIT: u64 = 10_000;

/// An amount of a resource, such as `4` or `0.5`, in [`UNIT`]s.
pub fn parse_quantity(text: &str) -> Result<u64, String> {
    match text.trim().parse::<f64>() {
        Ok(amount) if amount >= 0.0 && amount * (UNIT as f64) < u64::MAX as f64 => {
            Ok((amount * UNIT as f64).round() as u64)
        }
        _ => Err("it should be an amount such as 4 or 0.5".into()),
    }
}

/// A size in bytes, such as `16GiB` or `512MB`. Without a unit it is bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return Err(SIZE.into()),
    };
    // Whole numbers exactly, others as well as a float can.
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(unit).ok_or_else(|| "it is more than 2^64 bytes".into());
    }
    match number.parse::<f64>() {
        Ok(number) if number >= 0.0 && number * (unit as f64) < u64::MAX as f64 => {
            Ok((number * unit as f64) as u64)
        }
        _ => Err(SIZE.into()),
    }
}

/// A time, such as `100ms`, `2.5s` or `1m`. Without a unit it is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let why = || "it should be a time such as 100ms, 2.5s or 1m".to_owned();
    let (number, unit) = split(text);
    let unit = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(why()),
    };
    let number: f64 = number.parse().map_err(|_| why())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| why())
}

pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| "it should be a whole number such as 4".into())
}

pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("it should be true or false".into()),
    }
}

/// `name=value` pairs with commas between them.
pub(super) fn parse_pairs(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name, value)),
            _ => Err(format!("`{pair}` should be name=value")),
        })
        .collect()
}

const SIZE: &str = "it should be a size such as 16GiB, 512MB or 4096";

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        assert_eq!(parse_bytes("16GiB"), Ok(16 << 30));
        assert_eq!(parse_bytes("512MB"), Ok(512_000_000));
        assert_eq!(parse_bytes("1.5 KiB"), Ok(1536));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("18446744073709551615"), Ok(u64::MAX));
        for wrong in ["", "GiB", "-1", "1e3", "99999999999999TiB", "4 apples"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_are_counted_in_ten_thousandths() {
        assert_eq!(parse_quantity("0.5"), Ok(5_000));
        assert_eq!(parse_quantity("0.0001"), Ok(1));
        assert!(parse_quantity("NaN").is_err());
        assert!(parse_quantity("-1").is_err());
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("1m"), Ok(Duration::from_secs(60)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("").is_err());
    }
}
