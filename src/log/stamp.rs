//! RFC 3339 times to and from bytes, without going through a date library.

use std::cell::Cell;

use crate::event::WallTime;

/// Appends `time` as `2026-05-07T10:00:01.550764698Z`: always nine digits, always UTC.
pub fn write_time(time: WallTime, out: &mut Vec<u8>) {
    let second = time.0.div_euclid(NANOS);
    let nanos = time.0.rem_euclid(NANOS) as u32;
    // Events come in bursts: the part up to the second is nearly always that of the event before.
    let prefix = PREFIX.with(|cell| {
        let (known, text) = cell.get();
        if known == second {
            return text;
        }
        let text = format_prefix(second);
        cell.set((second, text));
        text
    });
    let mut text = [b'Z'; 30];
    text[..20].copy_from_slice(&prefix);
    put_digits(&mut text[20..29], nanos);
    out.extend_from_slice(&text);
}

/// Reads an RFC 3339 time with any fraction and any offset; `None` when it is not one.
pub fn parse_time(text: &[u8]) -> Option<WallTime> {
    let (head, rest) = text.split_at_checked(19)?;
    if head[4] != b'-'
        || head[7] != b'-'
        || head[13] != b':'
        || head[16] != b':'
        || !matches!(head[10], b'T' | b't' | b' ')
    {
        return None;
    }
    let (year, month, day) = (
        digits(&head[..4])?,
        digits(&head[5..7])?,
        digits(&head[8..10])?,
    );
    let (hour, minute, second) = (
        digits(&head[11..13])?,
        digits(&head[14..16])?,
        digits(&head[17..19])?,
    );
    // RFC 3339 allows second 60; it is taken as the first moment of the next minute.
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in(year, month)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let (nanos, zone) = parse_fraction(rest)?;
    let offset = parse_zone(zone)?;
    let seconds =
        days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    let time = match seconds.checked_mul(NANOS) {
        Some(time) => time.checked_add(nanos),
        // Of the first second that there is, only the end can be counted.
        None => i64::try_from(i128::from(seconds) * i128::from(NANOS) + i128::from(nanos)).ok(),
    };
    time.map(WallTime)
}

fn parse_fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(fraction) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let length = fraction
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if length == 0 {
        return None;
    }
    let kept = length.min(9);
    let nanos = digits(&fraction[..kept])? * 10_i64.pow(9 - kept as u32);
    Some((nanos, &fraction[length..]))
}

/// Seconds east of UTC.
fn parse_zone(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3_600 + minutes * 60;
            Some(if *sign == b'-' { -offset } else { offset })
        }
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

fn put_digits(out: &mut [u8], mut number: u32) {
    for byte in out.iter_mut().rev() {
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn format_prefix(second: i64) -> [u8; 20] {
    let (year, month, day) = civil_from_days(second.div_euclid(86_400));
    let of_day = second.rem_euclid(86_400) as u32;
    let mut text = *b"0000-00-00T00:00:00.";
    put_digits(&mut text[..4], year as u32);
    put_digits(&mut text[5..7], month);
    put_digits(&mut text[8..10], day);
    put_digits(&mut text[11..13], of_day / 3_600);
    put_digits(&mut text[14..16], of_day / 60 % 60);
    put_digits(&mut text[17..19], of_day % 60);
    text
}

/// Days since 1970-01-01 to a date; a year is counted from March, so that the leap day ends it.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (
        year_of_era + era * 400 + i64::from(month <= 2),
        month as u32,
        day as u32,
    )
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * march_month + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const NANOS: i64 = 1_000_000_000;

thread_local! {
    static PREFIX: Cell<(i64, [u8; 20])> = const { Cell::new((0, *b"1970-01-01T00:00:00.")) };
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, SecondsFormat, Utc};
    use proptest::prelude::*;

    use super::*;

    fn written(time: i64) -> String {
        let mut out = Vec::new();
        write_time(WallTime(time), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_of_the_ancestor_and_of_other_zones_are_read() {
        let at = |text: &str| parse_time(text.as_bytes()).map(|time| time.0);
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("1970-01-01T08:00:00.5+08:00"), Some(500_000_000));
        assert_eq!(at("1969-12-31T23:59:59.999999999Z"), Some(-1));
        assert_eq!(at("2016-12-31T23:59:60Z"), at("2017-01-01T00:00:00Z"));
        assert_eq!(
            at("2026-05-01T00:00:00.1234567899Z"),
            at("2026-05-01T00:00:00.123456789Z")
        );
        for bad in [
            "",
            "2026-05-01",
            "2026-05-01T00:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-05-01T24:00:00Z",
            "2026-05-01T00:00:00.Z",
            "2026-05-01T00:00:00+0800",
            "9999-05-01T00:00:00Z",
            "2026-05-01T00:00:00Zx",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_ends_of_time_are_read_back() {
        for time in [i64::MIN, i64::MIN + 1, i64::MAX] {
            assert_eq!(parse_time(written(time).as_bytes()), Some(WallTime(time)));
        }
        for beyond in [
            "1677-09-21T00:12:43.145224191Z",
            "2262-04-11T23:47:16.854775808Z",
        ] {
            assert_eq!(parse_time(beyond.as_bytes()), None);
        }
    }

    proptest! {
        #[test]
        fn any_time_is_written_as_chrono_writes_it_and_read_back(time: i64) {
            let text = written(time);
            prop_assert_eq!(&text, &DateTime::<Utc>::from_timestamp_nanos(time).to_rfc3339_opts(SecondsFormat::Nanos, true));
            prop_assert_eq!(parse_time(text.as_bytes()), Some(WallTime(time)));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(text: Vec<u8>) {
            parse_time(&text);
        }
    }
}
