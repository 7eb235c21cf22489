//! One pass over a line that is a JSON object: its members as slices, nothing built.

use std::str;

use super::escape::{code_unit, span_in_string};

/// The value of a member, as it stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// The inside of a string, still escaped.
    Text(&'a [u8]),
    /// Anything else: a number, a word, an array, an object.
    Other(&'a [u8]),
}

/// Hands each member of the object that `line` is to `each`, in order, and says whether the
/// whole line is one valid JSON object. Members are handed out before the end has been seen.
pub fn members<'a>(line: &'a [u8], mut each: impl FnMut(&'a [u8], Value<'a>)) -> bool {
    str::from_utf8(line).is_ok() && Scanner { line, at: 0 }.object(&mut each).is_some()
}

struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn object(mut self, each: &mut impl FnMut(&'a [u8], Value<'a>)) -> Option<()> {
        self.blanks();
        self.expect(b'{')?;
        self.blanks();
        if !self.take(b'}') {
            loop {
                self.blanks();
                let key = self.string()?;
                self.blanks();
                self.expect(b':')?;
                self.blanks();
                let value = if self.peek() == Some(b'"') {
                    Value::Text(self.string()?)
                } else {
                    let start = self.at;
                    self.value(DEEPEST)?;
                    Value::Other(&self.line[start..self.at])
                };
                each(key, value);
                self.blanks();
                if self.take(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.blanks();
        (self.at == self.line.len()).then_some(())
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.nested(depth, b'}', true),
            b'[' => self.nested(depth, b']', false),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn nested(&mut self, depth: u32, close: u8, keyed: bool) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.at += 1;
        self.blanks();
        if self.take(close) {
            return Some(());
        }
        loop {
            self.blanks();
            if keyed {
                self.string()?;
                self.blanks();
                self.expect(b':')?;
                self.blanks();
            }
            self.value(depth)?;
            self.blanks();
            if self.take(close) {
                return Some(());
            }
            self.expect(b',')?;
        }
    }

    /// The inside of the string that begins here.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            self.at += span_in_string(&self.line[self.at..]);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(&self.line[start..self.at - 1]);
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let rest = &self.line[self.at + 1..];
        match rest.first()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let (first, after) = code_unit(&rest[1..])?;
                self.at += 6;
                match first {
                    0xd800..=0xdbff => {
                        let (low, _) = code_unit(after.strip_prefix(b"\\u")?)?;
                        (0xdc00..=0xdfff).contains(&low).then_some(())?;
                        self.at += 6;
                    }
                    0xdc00..=0xdfff => return None,
                    _ => {}
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let count = self.line[self.at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        self.at += count;
        (count > 0).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.line[self.at..]
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }
}

/// How many arrays and objects may stand in each other: as many as serde_json follows.
const DEEPEST: u32 = 126;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value as Json};

    use super::*;

    #[test]
    fn members_come_in_order_and_untouched() {
        let mut seen = Vec::new();
        let line = br#" {"a":"x\n\"y","b" : -1.5e3 ,"c":[1,{"d":[]}],"e":null} "#;
        assert!(members(line, |key, value| seen.push((key, value))));
        assert_eq!(
            seen,
            [
                (&b"a"[..], Value::Text(br#"x\n\"y"#)),
                (b"b", Value::Other(b"-1.5e3")),
                (b"c", Value::Other(br#"[1,{"d":[]}]"#)),
                (b"e", Value::Other(b"null")),
            ]
        );
    }

    #[test]
    fn half_a_line_is_no_object() {
        let line = br#"{"a":"\ud83d\ude00","b":[true,false,{"c":1}],"d":0.5}"#;
        assert!(members(line, |_, _| ()));
        for cut in 0..line.len() {
            assert!(!members(&line[..cut], |_, _| ()), "{cut}");
        }
        let twice = [&line[..], line].concat();
        assert!(!members(&twice, |_, _| ()));
    }

    fn agrees_with_serde(line: &[u8]) {
        let ours = members(line, |_, _| ());
        let theirs = serde_json::from_slice::<Map<String, Json>>(line).is_ok();
        assert_eq!(ours, theirs, "{:?}", String::from_utf8_lossy(line));
    }

    proptest! {
        #[test]
        fn serde_agrees_on_what_is_an_object(at in 0_usize..70, byte in prop_oneof![any::<u8>(), Just(b'"'), Just(b','), Just(b'}'), Just(b'\\')], cut in 0_usize..80) {
            let mut line = br#"{"time":"2026\u00e9","n":-10.25e-3,"l":[1,null,{"k":true}],"s":"\\\ud83d\ude00"}"#.to_vec();
            if let Some(place) = line.get_mut(at) {
                *place = byte;
            }
            line.truncate(line.len().max(cut));
            agrees_with_serde(&line);
            line.truncate(cut);
            agrees_with_serde(&line);
        }

        #[test]
        fn serde_agrees_on_soup(text in r#"\{("[a-c\\u0-9]{0,6}"|[:,\[\]{}0-9.eE+-]|true|null|"x":){0,12}\}"#) {
            agrees_with_serde(text.as_bytes());
        }
    }
}
