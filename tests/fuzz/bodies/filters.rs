//! Times, sizes and patterns as they are typed.

use std::time::Duration;

use fsmon::event::WallTime;
use fsmon::filters::glob::GlobSet;
use fsmon::filters::pattern::PathPattern;
use fsmon::filters::size::{SizeFilter, human_size, parse_size};
use fsmon::filters::time::{TimeFilter, TimeWindow, parse_age, parse_span};

use super::draw::Draw;
use super::globbing;

pub fn body(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let (now, other) = (WallTime(draw.u64().cast_signed()), draw.u64());
    let (first, second) = (draw.text(200), draw.text(200));
    times(&first, now, WallTime(other.cast_signed()));
    sizes(&first, other);
    lengths_of_time_add_up(&mut Draw::new(bytes));
    sizes_count_in_steps_of_1024(&mut Draw::new(bytes));
    excludes(&[&first, &second], draw.rest());
    patterns(&first, bytes);
    patterns(&second, first.as_bytes());
}

fn times(text: &str, now: WallTime, other: WallTime) {
    parse_age(text).ok();
    parse_span(text).ok();
    let Ok(filter) = TimeFilter::parse(text, now) else {
        return;
    };
    let window = TimeWindow::from_filters(&[filter]);
    for time in [
        now,
        other,
        filter.at,
        WallTime(i64::MIN),
        WallTime(i64::MAX),
    ] {
        assert_eq!(window.contains(time), filter.matches(time));
    }
    // It is shown to the second; what stands there reads back to that second.
    let shown = filter.to_string();
    match TimeFilter::parse(&shown, now) {
        Ok(back) => {
            assert_eq!(back.op, filter.op);
            assert_eq!(back.at.0, filter.at.0.div_euclid(SECOND) * SECOND);
        }
        // The first second that there is is not a whole one.
        Err(_) => assert!(
            filter.at.0.div_euclid(SECOND).checked_mul(SECOND).is_none(),
            "{shown}"
        ),
    }
}

fn sizes(text: &str, other: u64) {
    if let Ok(bytes) = parse_size(text) {
        assert_eq!(parse_size(&format!("{bytes}B")), Ok(bytes));
    }
    if let Ok(filter) = text.parse::<SizeFilter>() {
        assert_eq!(filter.to_string().parse(), Ok(filter));
        assert!(filter.matches(filter.bytes) || !filter.to_string().contains('='));
    }
    // What people are shown is at most half of its last digit away.
    let shown = human_size(other);
    let unit = match shown.trim_start_matches(|char: char| char.is_ascii_digit() || char == '.') {
        "B" => 1,
        "KB" => 1_u128 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => 1 << 40,
    };
    if let Ok(bytes) = parse_size(&shown) {
        assert!(
            u128::from(bytes.abs_diff(other)) <= unit / 20 + 1,
            "{shown} for {other}"
        );
    }
}

/// `1h30m` is what its parts add up to, or out of range.
fn lengths_of_time_add_up(draw: &mut Draw<'_>) {
    let units = [
        ("ms", 1_000_000_u128),
        ("s", SECOND as u128),
        ("m", 60 * SECOND as u128),
        ("h", 3600 * SECOND as u128),
        ("d", 86_400 * SECOND as u128),
        ("w", 604_800 * SECOND as u128),
    ];
    let (mut text, mut sum, mut kinds) = (String::new(), 0, Vec::new());
    for _ in 0..1 + draw.below(5) {
        let (unit, nanos) = draw.one_of(&units);
        let number = draw.u64() >> draw.below(64);
        text += &format!("{number}{unit}");
        sum += u128::from(number) * nanos;
        kinds.push(unit);
    }
    let is_age = !kinds.contains(&"ms");
    let fits = |limit| is_age && sum <= limit;
    let age = parse_age(&text).ok().map(|age| age.as_nanos());
    assert_eq!(age, fits(i64::MAX as u128).then_some(sum), "{text}");
    let is_span = !kinds.contains(&"d") && !kinds.contains(&"w");
    let year = Duration::from_secs(365 * 86_400).as_nanos();
    let span = parse_span(&text).ok().map(|span| span.as_nanos());
    assert_eq!(span, (is_span && sum <= year).then_some(sum), "{text}");
    let now = WallTime(draw.u64().cast_signed());
    let at = TimeFilter::parse(&text, now).ok().map(|filter| filter.at.0);
    let there = i128::from(now.0) - sum.min(1 << 100) as i128;
    assert_eq!(
        at,
        i64::try_from(there).ok().filter(|_| fits(i64::MAX as u128)),
        "{text}"
    );
}

fn sizes_count_in_steps_of_1024(draw: &mut Draw<'_>) {
    let units = [
        ("", 0),
        ("B", 0),
        ("k", 10),
        ("KB", 10),
        ("M", 20),
        ("gb", 30),
        ("T", 40),
    ];
    let ((unit, shift), whole) = (draw.one_of(&units), draw.u64() >> draw.below(64));
    let thousandths = draw.below(1000) as u128;
    let text = format!("{whole}.{thousandths:03} {unit}");
    let meant = (u128::from(whole) << shift) + (thousandths << shift) / 1000;
    assert_eq!(parse_size(&text).ok(), u64::try_from(meant).ok(), "{text}");
}

/// Exclude patterns say what their definition says, and one that is taken back lets nothing out that it hit.
fn excludes(patterns: &[&str], path: &[u8]) {
    let path = &path[..path.len().min(300)];
    let Ok(set) = GlobSet::parse(patterns) else {
        return;
    };
    for is_dir in [None, Some(false), Some(true)] {
        assert_eq!(
            set.excludes(path, is_dir),
            globbing::excludes(patterns, path, is_dir)
        );
    }
}

fn patterns(text: &str, path: &[u8]) {
    let Ok(pattern) = PathPattern::parse(text) else {
        return;
    };
    let mut absolute = b"/".to_vec();
    absolute.extend(&path[..path.len().min(300)]);
    let literal = pattern.literal();
    for path in [Some(&absolute[..]), literal.as_deref()]
        .into_iter()
        .flatten()
    {
        let is_meant = pattern.matches(path);
        assert_eq!(is_meant, globbing::matches(text, path), "{text:?}");
        assert!(
            literal
                .as_deref()
                .is_none_or(|only| is_meant == (only == path))
        );
        if is_meant {
            holds_what_the_pattern_says_of(path, &pattern);
        }
    }
    assert_eq!(
        PathPattern::parse(&pattern.to_string()),
        Ok(pattern.clone())
    );
    if let Ok(moved) = pattern.moved_to("/else/[where") {
        assert!(moved.base().starts_with(b"/else"));
    }
}

fn holds_what_the_pattern_says_of(path: &[u8], pattern: &PathPattern) {
    let names: Vec<&[u8]> = path[1..].split(|byte| *byte == b'/').collect();
    assert!(pattern.depth().is_none_or(|depth| depth == names.len()));
    let base = pattern.base();
    assert!(base == b"/" || (path.starts_with(&base) && path[base.len()] == b'/'));
    // An empty name is none, and the directories of such a path are not to be told apart.
    if names.contains(&&b""[..]) {
        return;
    }
    let dir = |count: usize| [&b"/"[..], &names[..count].join(&b'/')].concat();
    assert!(pattern.can_be_in(&dir(names.len() - 1)));
    assert!((0..names.len()).all(|count| pattern.can_be_below(&dir(count))));
}

const SECOND: i64 = 1_000_000_000;
