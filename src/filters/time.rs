//! Time filters such as `>1h` or `<2026-05-01 12:00`, and the window that several of them leave.
//!
//! Dates without an offset are UTC, as the times in the logs are.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

use super::{Op, ParseError};
use crate::event::WallTime;

/// A time filter: `[OP]WHEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeFilter {
    /// How the time is compared.
    pub op: Op,
    /// With what moment.
    pub at: WallTime,
}

impl TimeFilter {
    /// Reads a filter; ages count back from `now`, so `>1h` is the last hour.
    pub fn parse(text: &str, now: WallTime) -> Result<Self, ParseError> {
        let (op, when) = Op::split(text);
        let at = moment(when, now).map_err(|why| ParseError::new(text, "a time filter", why))?;
        Ok(Self { op, at })
    }

    /// Whether something at `time` passes.
    pub fn matches(&self, time: WallTime) -> bool {
        self.op.holds(&time, &self.at)
    }
}

impl fmt::Display for TimeFilter {
    /// Writes `> 2026-05-01 12:00:00`, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = DateTime::from_timestamp_nanos(self.at.0);
        write!(f, "{} {}", self.op, at.format("%Y-%m-%d %H:%M:%S"))
    }
}

/// The times that pass a number of filters: from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindow {
    /// The earliest time that passes.
    pub first: WallTime,
    /// The latest time that passes; before `first` when nothing passes.
    pub last: WallTime,
}

impl TimeWindow {
    /// Every time.
    pub const ALL: Self = Self {
        first: WallTime(i64::MIN),
        last: WallTime(i64::MAX),
    };
    const NONE: Self = Self {
        first: WallTime(i64::MAX),
        last: WallTime(i64::MIN),
    };

    /// The times that pass all of `filters`.
    pub fn from_filters(filters: &[TimeFilter]) -> Self {
        filters.iter().map(Self::of).fold(Self::ALL, |a, b| Self {
            first: a.first.max(b.first),
            last: a.last.min(b.last),
        })
    }

    /// Whether `time` passes.
    pub fn contains(&self, time: WallTime) -> bool {
        self.first <= time && time <= self.last
    }

    /// Whether nothing can pass.
    pub fn is_empty(&self) -> bool {
        self.first > self.last
    }

    fn of(filter: &TimeFilter) -> Self {
        let WallTime(at) = filter.at;
        let from = |first| Self {
            first: WallTime(first),
            ..Self::ALL
        };
        let until = |last| Self {
            last: WallTime(last),
            ..Self::ALL
        };
        match filter.op {
            Op::AtLeast => from(at),
            Op::Over => at.checked_add(1).map_or(Self::NONE, from),
            Op::AtMost => until(at),
            Op::Under => at.checked_sub(1).map_or(Self::NONE, until),
            Op::Exactly => Self {
                first: filter.at,
                last: filter.at,
            },
        }
    }
}

/// Reads a length of time without an operator: `6h`, `1h30m`.
pub fn parse_age(text: &str) -> Result<Duration, ParseError> {
    let error = |why| ParseError::new(text, "a length of time", why);
    let age = age(&text.trim().to_ascii_lowercase())
        .filter(|_| !text.trim().is_empty())
        .ok_or_else(|| error("use numbers with s, m, h, d, w, such as 1h30m".to_owned()))?;
    let age = age.and_then(|nanos| u64::try_from(nanos).ok());
    age.map(Duration::from_nanos)
        .ok_or_else(|| error(out_of_range()))
}

fn moment(text: &str, now: WallTime) -> Result<WallTime, String> {
    const DAY: i64 = 86_400_000_000_000;
    let midnight = now
        .0
        .div_euclid(DAY)
        .checked_mul(DAY)
        .ok_or_else(out_of_range);
    match text.to_ascii_lowercase().as_str() {
        "" => Err("no time given".to_owned()),
        "now" => Ok(now),
        "today" => midnight.map(WallTime),
        "yesterday" => midnight?
            .checked_sub(DAY)
            .map(WallTime)
            .ok_or_else(out_of_range),
        lower => match age(lower) {
            Some(age) => {
                let age = age.ok_or_else(out_of_range)?;
                now.0
                    .checked_sub(age)
                    .map(WallTime)
                    .ok_or_else(out_of_range)
            }
            None => date(text),
        },
    }
}

/// Reads a short stretch of time: `250ms`, `5s`, `1m30s`; `0` is none at all.
pub fn parse_span(text: &str) -> Result<Duration, ParseError> {
    let error = |why: &str| ParseError::new(text, "a span of time", why);
    let lower = text.trim().to_ascii_lowercase();
    if lower == "0" {
        return Ok(Duration::ZERO);
    }
    if lower.is_empty() {
        return Err(error("no time given"));
    }
    let mut sum = 0_u64;
    let mut rest = lower.as_str();
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(leading(rest, |byte| byte.is_ascii_digit()));
        let (unit, behind) = behind.split_at(leading(behind, |byte| !byte.is_ascii_digit()));
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => {
                return Err(error(
                    "use numbers with ms, s, m, h, such as 250ms or 1m30s",
                ));
            }
        };
        if number.is_empty() {
            return Err(error(
                "use numbers with ms, s, m, h, such as 250ms or 1m30s",
            ));
        }
        let part = number.parse::<u64>().ok();
        sum = part
            .and_then(|number| number.checked_mul(millis)?.checked_add(sum))
            .filter(|sum| *sum <= LONGEST_SPAN_MS)
            .ok_or_else(|| error("longer than a year"))?;
        rest = behind;
    }
    Ok(Duration::from_millis(sum))
}

fn leading(text: &str, wanted: impl Fn(&u8) -> bool) -> usize {
    text.bytes().take_while(|byte| wanted(byte)).count()
}

/// Nanoseconds of `1h30m`; `None` when it is no age, `Some(None)` when it is too long.
fn age(text: &str) -> Option<Option<i64>> {
    let mut sum = Some(0_i64);
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        let mut unit = unit.chars();
        let seconds = match unit.next()? {
            _ if number.is_empty() => return None,
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return None,
        };
        let part = number
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(seconds)?.checked_mul(1_000_000_000));
        sum = sum.zip(part).and_then(|(sum, part)| sum.checked_add(part));
        rest = unit.as_str();
    }
    Some(sum)
}

fn date(text: &str) -> Result<WallTime, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return time
            .timestamp_nanos_opt()
            .map(WallTime)
            .ok_or_else(out_of_range);
    }
    let day =
        || NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|day| day.and_time(NaiveTime::MIN));
    ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| day().ok())
        .ok_or_else(|| "use an age (30s, 5m, 2h, 7d, 3w, 1h30m), now, today, yesterday, YYYY-MM-DD[ HH:MM[:SS]] or RFC 3339".to_owned())?
        .and_utc()
        .timestamp_nanos_opt()
        .map(WallTime)
        .ok_or_else(out_of_range)
}

fn out_of_range() -> String {
    "out of range".to_owned()
}

/// A year: whoever writes more means something else, and the nanoseconds of this fit wherever times do.
const LONGEST_SPAN_MS: u64 = 365 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    // 2026-05-07T10:00:01.5Z
    const NOW: WallTime = WallTime(1_778_148_001_500_000_000);

    fn at(text: &str) -> i64 {
        TimeFilter::parse(text, NOW).unwrap().at.0
    }

    #[test]
    fn ages_count_back_from_now() {
        for (text, seconds) in [
            ("30s", 30),
            ("5m", 300),
            ("2h", 7200),
            ("7d", 604_800),
            ("3w", 1_814_400),
            ("1h30m", 5400),
            ("2H", 7200),
        ] {
            assert_eq!(at(text), NOW.0 - seconds * SECOND, "{text}");
        }
        assert_eq!(at("now"), NOW.0);
    }

    #[test]
    fn a_length_of_time_has_units() {
        let hours = |text| parse_age(text).unwrap().as_secs() / 3600;
        assert_eq!((hours("6h"), hours(" 1D2h "), hours("90m")), (6, 26, 1));
        for text in ["", "6", ">6h", "soon", "99999999999999999999h", "9999999d"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_has_units_down_to_milliseconds() {
        for (text, millis) in [
            ("250ms", 250),
            ("5s", 5000),
            ("2m", 120_000),
            (" 1M30S ", 90_000),
            ("1h", 3_600_000),
            ("1s5ms", 1005),
            ("0", 0),
            ("0s", 0),
            ("8760h", LONGEST_SPAN_MS),
        ] {
            let span = parse_span(text).unwrap();
            assert_eq!(span, Duration::from_millis(millis), "{text}");
        }
        for text in [
            "", "5", "s", "1.5s", "-1s", "5 s", "1d", "5sm", "1s5", "ü", "1ü", "8761h",
        ] {
            assert!(parse_span(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_span("99999999999999999999s").unwrap_err().to_string(),
            "'99999999999999999999s' is not a span of time: longer than a year"
        );
    }

    #[test]
    fn dates_are_utc_unless_they_say_otherwise() {
        let may_first = 1_777_593_600 * SECOND;
        assert_eq!(at("2026-05-01"), may_first);
        assert_eq!(at("> 2026-05-01 12:00"), may_first + 43_200 * SECOND);
        assert_eq!(at("2026-05-01 12:00:30"), may_first + 43_230 * SECOND);
        assert_eq!(at("2026-05-01T12:00:00"), may_first + 43_200 * SECOND);
        assert_eq!(
            at("2026-05-01T12:00:00.5Z"),
            may_first + 43_200 * SECOND + SECOND / 2
        );
        assert_eq!(at("2026-05-01T12:00:00+02:00"), may_first + 36_000 * SECOND);
        assert_eq!(at("today"), at("2026-05-07"));
        assert_eq!(at("Yesterday"), at("2026-05-06"));
    }

    #[test]
    fn what_is_no_time_or_out_of_range_is_an_error() {
        for text in [
            "",
            ">",
            "==1h",
            "1y",
            "1.5h",
            "h",
            "1h30",
            "-1h",
            "2026-13-01",
            "tomorrow",
            "P400D",
            "2026-05-01 25:00",
        ] {
            assert!(TimeFilter::parse(text, NOW).is_err(), "{text}");
        }
        for text in [
            ">99999999999d",
            ">999999999999999999999s",
            "9999-01-01",
            "0001-01-01",
            ">200000d",
        ] {
            let error = TimeFilter::parse(text, NOW).unwrap_err().to_string();
            assert!(error.ends_with("out of range"), "{error}");
        }
    }

    #[test]
    fn an_age_filter_keeps_what_is_younger() {
        let filter = TimeFilter::parse(">1h", NOW).unwrap();
        assert!(filter.matches(NOW));
        assert!(!filter.matches(WallTime(NOW.0 - 3600 * SECOND)));
        assert!(
            TimeFilter::parse("1h", NOW)
                .unwrap()
                .matches(WallTime(NOW.0 - 3600 * SECOND))
        );
    }

    #[test]
    fn a_window_agrees_with_its_filters() {
        let ops = [Op::AtLeast, Op::Over, Op::AtMost, Op::Under, Op::Exactly];
        let times = [i64::MIN, -1, 0, 1, 2, i64::MAX].map(WallTime);
        for (op, other) in ops
            .iter()
            .flat_map(|op| ops.iter().map(move |other| (*op, *other)))
        {
            for (at, limit) in times
                .iter()
                .flat_map(|at| times.iter().map(move |limit| (*at, *limit)))
            {
                let filters = [
                    TimeFilter { op, at },
                    TimeFilter {
                        op: other,
                        at: limit,
                    },
                ];
                let window = TimeWindow::from_filters(&filters);
                for time in times {
                    assert_eq!(
                        window.contains(time),
                        filters.iter().all(|filter| filter.matches(time))
                    );
                }
            }
        }
        assert_eq!(TimeWindow::from_filters(&[]), TimeWindow::ALL);
    }

    #[test]
    fn a_filter_is_shown_to_the_second() {
        assert_eq!(
            TimeFilter::parse(">2026-05-01", NOW).unwrap().to_string(),
            "> 2026-05-01 00:00:00"
        );
    }
}
