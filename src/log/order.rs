//! A cheap look at whether a log is sorted by time.

use std::fs::File;
use std::io;

use super::line::time_of;
use super::source::Lines;
use crate::event::WallTime;

/// Whether nothing contradicts that the lines before `end` are sorted. Of a small log every line is looked
/// at; of a larger one some all over it, which finds logs that were joined in the wrong order or sorted by
/// something else, but not a few lines that stand where they do not belong.
pub fn looks_sorted(file: &File, end: u64) -> io::Result<bool> {
    let mut lines = Lines::new(file, 0, end, BLOCK);
    if end <= SMALL {
        return last_if_sorted(&mut lines, WallTime(i64::MIN), u64::MAX).map(|last| last.is_some());
    }
    let mut last = WallTime(i64::MIN);
    for sample in 0..SAMPLES {
        // The last ones are the last lines that fit into a block.
        let at = (end - BLOCK as u64) / (SAMPLES - 1) * sample;
        // Long lines reach into the next samples: what was looked at already is no older line.
        lines.seek_after(at.max(lines.offset()), end)?;
        match last_if_sorted(&mut lines, last, LINES)? {
            Some(time) => last = time,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// The time of the last of so many next lines; `None` when one is older than another or than `last`.
fn last_if_sorted(
    lines: &mut Lines<&File>,
    mut last: WallTime,
    count: u64,
) -> io::Result<Option<WallTime>> {
    for _ in 0..count {
        let Some(line) = lines.next_line()? else {
            break;
        };
        let time = time_of(line.bytes).filter(|_| !line.overlong);
        if time.is_some_and(|time| time < last) {
            return Ok(None);
        }
        last = last.max(time.unwrap_or(last));
    }
    Ok(Some(last))
}

const BLOCK: usize = 4096;
/// So much is read in the time that some samples of a large log take.
const SMALL: u64 = 128 * 1024;
const SAMPLES: u64 = 16;
/// How many lines of each sample.
const LINES: u64 = 8;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::log::line::write_time;

    fn is_sorted(seconds: impl IntoIterator<Item = i64>) -> bool {
        is_sorted_with(seconds, "/a")
    }

    fn is_sorted_with(seconds: impl IntoIterator<Item = i64>, path: &str) -> bool {
        let mut file = tempfile::tempfile().unwrap();
        let mut text = b"\n \ngarbage\n".to_vec();
        for second in seconds {
            text.extend(b"{\"time\":\"");
            write_time(WallTime(second * 1_000_000_000), &mut text);
            text.extend(format!("\",\"event_type\":\"CREATE\",\"path\":\"{path}\"}}\n").bytes());
        }
        file.write_all(&text).unwrap();
        looks_sorted(&file, text.len() as u64).unwrap()
    }

    #[test]
    fn one_wrong_line_of_a_small_log_is_found() {
        assert!(is_sorted([]));
        assert!(is_sorted(0..1000) && is_sorted([1, 1, 2]));
        for wrong in 1..300 {
            assert!(!is_sorted((0..300).map(|at| if at == wrong {
                0
            } else {
                at + 1
            })));
        }
    }

    #[test]
    fn large_logs_joined_in_the_wrong_order_are_found() {
        assert!(is_sorted(0..20_000));
        for newer in [1000, 10_000, 19_000] {
            assert!(!is_sorted((newer..20_000).chain(0..newer)), "{newer}");
        }
        assert!(!is_sorted((0..20_000).rev()));
        assert!(!is_sorted((0..20_000).map(|at| at % 1000)));
    }

    #[test]
    fn a_large_sorted_log_of_long_lines_is_sorted() {
        for length in [1400, 3000, 20_000, 200_000] {
            let path = "x".repeat(length);
            assert!(is_sorted_with(0..100, &path), "{length}");
            assert!(!is_sorted_with((0..100).rev(), &path), "{length}");
        }
    }
}
