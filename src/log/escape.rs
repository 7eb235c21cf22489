//! JSON strings to and from bytes that need not be UTF-8.

use std::borrow::Cow;

/// Appends `bytes` as the inside of a JSON string (no quotes) that is always valid UTF-8.
///
/// Everything a terminal could take for a command is escaped: C0 controls, DEL and the C1
/// controls. What is not UTF-8 becomes U+FFFD; whoever needs the exact bytes writes them apart.
pub fn push_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let plain = plain_len(bytes);
    out.extend_from_slice(&bytes[..plain]);
    if plain < bytes.len() {
        push_unplain(&bytes[plain..], out);
    }
}

/// Appends the lower-case hex of `bytes`.
pub fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(
        bytes
            .iter()
            .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
    );
}

/// Appends a decimal number.
pub fn push_number(mut number: u64, out: &mut Vec<u8>) {
    let mut text = [0; 20];
    let mut start = text.len();
    loop {
        start -= 1;
        text[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[start..]);
}

/// Reads what [`push_hex`] writes, in either case; `None` when it is not hex.
pub fn parse_hex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks_exact(2)
        .map(|pair| Some(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?))
        .collect()
}

/// Undoes JSON escaping. `raw` is the inside of a string that [`crate::log::scan`] found valid;
/// nothing is copied when nothing is escaped.
pub fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let Some((kind, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        match kind {
            b'u' => rest = unescape_unicode(rest, &mut out),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            other => out.push(*other),
        }
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// The number of leading bytes that a JSON string can hold as they are.
fn plain_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let special = below_space(word)
            | equal(word, b'"')
            | equal(word, b'\\')
            | equal(word, 0x7f)
            | word & HIGH;
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..]
        .iter()
        .take_while(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\'))
        .count()
}

/// The number of leading bytes up to the next quote, backslash or C0 control.
pub(super) fn span_in_string(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let special = below_space(word) | equal(word, b'"') | equal(word, b'\\');
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..]
        .iter()
        .take_while(|byte| **byte >= 0x20 && !matches!(byte, b'"' | b'\\'))
        .count()
}

// Eight bytes at once. The subtraction may carry a false mark upwards, but only past a true one,
// so the lowest mark (the first byte, little-endian) is always right.
fn below_space(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGH
}

fn equal(word: u64, byte: u8) -> u64 {
    let zeroed = word ^ (ONES * u64::from(byte));
    zeroed.wrapping_sub(ONES) & !zeroed & HIGH
}

fn push_unplain(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => {
                    out.extend_from_slice(b"\\u00");
                    push_hex(&[char as u8], out);
                }
                _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((first, after)) = code_unit(rest) else {
        return rest;
    };
    let low = after.strip_prefix(b"\\u").and_then(code_unit);
    let (char, after) = match (first, low) {
        (0xd800..=0xdbff, Some((low @ 0xdc00..=0xdfff, after))) => (
            char::from_u32(0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00)),
            after,
        ),
        _ => (char::from_u32(first), after),
    };
    out.extend_from_slice(
        char.unwrap_or(char::REPLACEMENT_CHARACTER)
            .encode_utf8(&mut [0; 4])
            .as_bytes(),
    );
    after
}

/// The four hex digits of a `\u` escape.
pub(super) fn code_unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let unit = digits.iter().try_fold(0, |sum, digit| {
        Some(sum << 4 | u32::from(hex_digit(*digit)?))
    })?;
    Some((unit, rest))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push_escaped(bytes, &mut out);
        out
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(
            escaped(b"plain /path-with_[all]~"),
            b"plain /path-with_[all]~"
        );
        assert_eq!(
            escaped(b"a\"b\\c\nd\te\x1bf\x7fg\0"),
            br#"a\"b\\c\nd\te\u001bf\u007fg\u0000"#
        );
        assert_eq!(
            escaped("\u{9b}31m \u{e9}".as_bytes()),
            "\\u009b31m \u{e9}".as_bytes()
        );
        assert_eq!(escaped(b"bad\xff\xfe."), "bad\u{fffd}\u{fffd}.".as_bytes());
    }

    #[test]
    fn surrogate_pairs_are_joined() {
        assert_eq!(
            unescape(br"\ud83d\ude00\/\u00e9").as_ref(),
            "\u{1f600}/\u{e9}".as_bytes()
        );
    }

    proptest! {
        #[test]
        fn serde_reads_what_is_written(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), 0x20_u8..0x7f], 0..60)) {
            let mut json = b"\"".to_vec();
            push_escaped(&bytes, &mut json);
            json.push(b'"');
            let read: String = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(&read, &String::from_utf8_lossy(&bytes));
            let inside = &json[1..json.len() - 1];
            let back = unescape(inside).into_owned();
            prop_assert_eq!(back, read.as_bytes());
        }

        #[test]
        fn hex_reads_back(bytes: Vec<u8>) {
            let mut text = Vec::new();
            push_hex(&bytes, &mut text);
            prop_assert_eq!(parse_hex(&text), Some(bytes));
        }

        #[test]
        fn unescaping_never_panics(bytes in proptest::collection::vec(prop_oneof![Just(b'\\'), Just(b'u'), Just(b'd'), any::<u8>()], 0..20)) {
            unescape(&bytes);
        }
    }
}
