//! Sizes such as `64MB`, and filters on them such as `>=1.5GB`.

use std::fmt;
use std::str::FromStr;

use super::{Op, ParseError};

/// A size filter: `[OP]NUM[UNIT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeFilter {
    /// How the size is compared.
    pub op: Op,
    /// With how many bytes.
    pub bytes: u64,
}

impl SizeFilter {
    /// Whether a file of `bytes` passes.
    pub fn matches(&self, bytes: u64) -> bool {
        self.op.holds(&bytes, &self.bytes)
    }
}

impl FromStr for SizeFilter {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (op, size) = Op::split(text);
        let bytes = bytes_of(size).map_err(|why| ParseError::new(text, "a size filter", why))?;
        Ok(Self { op, bytes })
    }
}

impl fmt::Display for SizeFilter {
    /// Writes a form that reads back to the same filter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = human_size(self.bytes);
        if bytes_of(&short) == Ok(self.bytes) {
            write!(f, "{}{short}", self.op)
        } else {
            write!(f, "{}{}B", self.op, self.bytes)
        }
    }
}

/// Reads a size without an operator: `4096`, `64MB`, `1.5 G`.
pub fn parse_size(text: &str) -> Result<u64, ParseError> {
    bytes_of(text.trim()).map_err(|why| ParseError::new(text, "a size", why))
}

/// Writes a size for people: `482B`, `1.0KB`, `2.5GB`; rounded, so it may not read back.
pub fn human_size(bytes: u64) -> String {
    let (unit, shift) = match bytes {
        0..1024 => return format!("{bytes}B"),
        _ if bytes < 1 << 20 => ("KB", 10),
        _ if bytes < 1 << 30 => ("MB", 20),
        _ if bytes < 1 << 40 => ("GB", 30),
        _ => ("TB", 40),
    };
    let tenths = (u128::from(bytes) * 10 + (1 << (shift - 1))) >> shift;
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

fn bytes_of(text: &str) -> Result<u64, String> {
    let digits = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let shift = match unit.to_ascii_uppercase().as_str() {
        _ if number.is_empty() => return Err("no number".to_owned()),
        "" | "B" => 0,
        "K" | "KB" => 10,
        "M" | "MB" => 20,
        "G" | "GB" => 30,
        "T" | "TB" => 40,
        _ => {
            return Err(format!(
                "unknown unit '{}' (use B, KB, MB, GB, TB)",
                unit.escape_debug()
            ));
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let bad = || format!("bad number '{number}'");
    let whole: u128 = whole.parse().map_err(|_| bad())?;
    let tenths: u128 = fraction.parse().map_err(|_| bad())?;
    // 18 digits are finer than a byte of a terabyte and keep the arithmetic inside u128.
    if fraction.len() > 18 {
        return Err(bad());
    }
    let below = (tenths << shift) / 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(18));
    whole
        .checked_mul(1 << shift)
        .and_then(|above| above.checked_add(below))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_1024_steps_with_decimals() {
        let cases = [
            ("0", 0),
            ("482B", 482),
            ("1k", 1024),
            ("1KB", 1024),
            ("1.5 MB", 3 << 19),
            ("2GB", 2 << 30),
            ("3T", 3 << 40),
            ("0.5B", 0),
            ("16777215.9TB", u64::MAX - (1 << 40) / 10),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused_with_a_reason() {
        for text in [
            "",
            "zz",
            "MB",
            "1XB",
            "-5",
            "1.2.3",
            "1.",
            ".5",
            "==1",
            "18446744073709551616",
            "1e3",
            "16777216TB",
        ] {
            assert!(text.parse::<SizeFilter>().is_err(), "{text}");
        }
        let error = ">=1XB".parse::<SizeFilter>().unwrap_err().to_string();
        assert_eq!(
            error,
            "'>=1XB' is not a size filter: unknown unit 'XB' (use B, KB, MB, GB, TB)"
        );
    }

    #[test]
    fn no_operator_means_at_least() {
        for (text, op, below, at, above) in [
            ("1KB", Op::AtLeast, false, true, true),
            (">= 1KB", Op::AtLeast, false, true, true),
            (">1KB", Op::Over, false, false, true),
            ("<=1KB", Op::AtMost, true, true, false),
            ("<1KB", Op::Under, true, false, false),
            ("=1KB", Op::Exactly, false, true, false),
        ] {
            let filter: SizeFilter = text.parse().unwrap();
            assert_eq!(filter.op, op, "{text}");
            assert_eq!(
                [1023, 1024, 1025].map(|bytes| filter.matches(bytes)),
                [below, at, above],
                "{text}"
            );
        }
    }

    #[test]
    fn the_written_form_reads_back() {
        for bytes in [
            0,
            1,
            1023,
            1024,
            1025,
            1536,
            1 << 20,
            (1 << 20) + 1,
            10 << 30,
            u64::MAX,
        ] {
            let filter = SizeFilter {
                op: Op::Under,
                bytes,
            };
            assert_eq!(filter.to_string().parse(), Ok(filter), "{filter}");
        }
        assert_eq!(
            ">=1KB".parse::<SizeFilter>().unwrap().to_string(),
            ">=1.0KB"
        );
    }

    #[test]
    fn people_see_one_decimal() {
        assert_eq!(
            [482, 1024, 1587, 5 << 30].map(human_size),
            ["482B", "1.0KB", "1.5KB", "5.0GB"]
        );
    }
}
