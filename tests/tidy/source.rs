//! A source file as the rules see it: its code without comments and literals, and the modules that it names.

use std::collections::BTreeSet;

/// One source file with comments and literals blanked out.
pub(crate) struct Source {
    /// Path from the root of the package.
    pub(crate) name: String,
    /// The text; comments, strings and character literals are blanks.
    pub(crate) code: String,
}

impl Source {
    /// The top-level module that the file belongs to; `None` for lib.rs, the binary and tests.
    pub(crate) fn module(&self) -> Option<&str> {
        let first = self.name.strip_prefix("src/")?.split('/').next()?;
        let first = first.strip_suffix(".rs").unwrap_or(first);
        (first != "lib" && first != "bin").then_some(first)
    }

    /// How deep the module is below the crate: 1 for `filters`, 2 for `filters::size`.
    pub(crate) fn depth(&self) -> usize {
        let Some(inner) = self.name.strip_prefix("src/") else {
            return 0;
        };
        let inner = inner.strip_suffix(".rs").unwrap_or(inner);
        if inner == "lib" || inner.starts_with("bin/") {
            return 0;
        }
        inner
            .strip_suffix("/mod")
            .unwrap_or(inner)
            .split('/')
            .count()
    }

    /// The code without the tests at the end of the file, which may look wherever they like.
    pub(crate) fn body(&self) -> &str {
        if self.name.ends_with("/tests.rs") || self.name.contains("/tests/") {
            return "";
        }
        let end = self.code.find("#[cfg(test)]\nmod tests {");
        end.map_or(self.code.as_str(), |end| &self.code[..end])
    }

    /// Top-level modules named in `crate::` paths, or through enough `super::` to leave the own one.
    pub(crate) fn modules_named(&self, modules: &BTreeSet<String>) -> Vec<(usize, String)> {
        let code = self.body();
        let mut seen = Vec::new();
        for (at, _) in code.match_indices("crate::") {
            if at > 0 && is_word(code.as_bytes()[at - 1]) {
                continue;
            }
            let line = line_of(code, at);
            let rest = code[at + "crate::".len()..].trim_start();
            let names = if rest.starts_with('{') {
                heads_of_group(rest)
            } else {
                vec![word_at(rest)]
            };
            seen.extend(
                names
                    .into_iter()
                    .filter(|name| modules.contains(name))
                    .map(|name| (line, name)),
            );
        }
        let up = "super::".repeat(self.depth().max(1));
        for (at, _) in code.match_indices(&up) {
            let name = word_at(code[at + up.len()..].trim_start_matches("super::"));
            if modules.contains(&name) {
                seen.push((line_of(code, at), name));
            }
        }
        seen
    }

    /// Lines that hold code, without the tests at the end of the file.
    pub(crate) fn lines_of_code(&self) -> usize {
        let body = if self.body().is_empty() {
            &self.code
        } else {
            self.body()
        };
        body.lines().filter(|line| !line.trim().is_empty()).count()
    }
}

/// First names inside `{a::b, c::{d, e}, f}`: a, c, f.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut at_head = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ',' => at_head = depth == 1,
            _ if at_head && depth == 1 && !c.is_whitespace() => {
                names.push(word_at(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    names
}

/// The text with comments, strings and character literals blanked; line breaks stay.
pub(crate) fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => {
                find_from(bytes, at, b"\n").unwrap_or(bytes.len())
            }
            b'/' if bytes[at..].starts_with(b"/*") => end_of_block_comment(bytes, at),
            b'"' => end_of_string(bytes, at),
            b'r' if !(at > 0 && is_word(bytes[at - 1]) && bytes[at - 1] != b'b') => {
                end_of_raw_string(bytes, at)
            }
            b'\'' => end_of_char(bytes, at),
            _ => at,
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn end_of_block_comment(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"..."` or `r#"..."#`; `start` itself when no raw string begins there.
fn end_of_raw_string(bytes: &[u8], start: usize) -> usize {
    let hashes = bytes[start + 1..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return start;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    find_from(bytes, open + 1, &close).map_or(bytes.len(), |at| at + close.len())
}

/// The end of a character literal; `start` itself for a lifetime.
fn end_of_char(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start + 1) == Some(&b'\\') {
        return find_from(bytes, start + 3, b"'").map_or(start, |at| at + 1);
    }
    let width = std::str::from_utf8(&bytes[start + 1..])
        .ok()
        .and_then(|rest| rest.chars().next());
    let width = width.map_or(1, char::len_utf8);
    if bytes.get(start + 1 + width) == Some(&b'\'') {
        start + width + 2
    } else {
        start
    }
}

fn find_from(bytes: &[u8], start: usize, wanted: &[u8]) -> Option<usize> {
    let rest = bytes.get(start..)?;
    rest.windows(wanted.len())
        .position(|window| window == wanted)
        .map(|at| start + at)
}

pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

pub(crate) fn word_at(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = at
            .checked_sub(1)
            .is_none_or(|at| !is_word(line.as_bytes()[at]));
        let after = line
            .as_bytes()
            .get(at + word.len())
            .is_none_or(|byte| !is_word(*byte));
        before && after
    })
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[test]
fn code_of_leaves_out_comments_and_strings() {
    let text = "let a = \"crate::x\"; // crate::y\n/* crate::z /* nested */ */ let b = r#\"crate::w\"#; 'q'; &'a str;";
    let code = code_of(text);
    assert!(!code.contains("crate::"), "{code}");
    assert!(code.contains("let b ="));
    assert!(code.contains("&'a str;"));
    assert_eq!(code.lines().count(), 2);
}

#[test]
fn modules_are_found_in_grouped_and_relative_uses() {
    let modules = ["event", "log", "sys", "filters"].map(str::to_owned).into();
    let source = Source {
        name: "src/filters/size.rs".to_owned(),
        code: "use crate::{event::{EventType, self}, log};\nuse super::super::sys;\nfn f(x: crate::filters::Op) {}"
            .to_owned(),
    };
    let seen: Vec<_> = source.modules_named(&modules);
    let expected = [(1, "event"), (1, "log"), (3, "filters"), (2, "sys")];
    assert_eq!(seen, expected.map(|(line, name)| (line, name.to_owned())));
}
