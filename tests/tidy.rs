//! Keeps the house: who may see whom, where danger and dependencies live, and that the docs point at things that exist.
//!
//! Everything here reads source text; nothing is compiled or run. A rule that
//! fails prints `file:line` for each breach, so that the fix needs no search.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own sources has nothing better to do than stop"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may see whom, as told in `docs/architecture.md`. A module always sees itself.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "monitor",
        &[
            "pipeline",
            "policy",
            "dir_cache",
            "proc_cache",
            "fid_parser",
            "sys",
            "log",
            "socket",
            "monitored",
            "config",
            "filters",
            "event",
        ],
    ),
    (
        "pipeline",
        &[
            "dir_cache",
            "proc_cache",
            "fid_parser",
            "filters",
            "monitored",
            "event",
        ],
    ),
    ("policy", &["filters", "event"]),
    ("query", &["log", "filters", "event"]),
    ("clean", &["log", "filters", "event"]),
    ("dir_cache", &["fid_parser", "sys", "event"]),
    ("proc_cache", &["fid_parser", "sys", "event"]),
    ("fid_parser", &["event"]),
    ("log", &["filters", "event", "sys"]),
    ("socket", &["monitored", "filters", "event"]),
    ("monitored", &["filters", "event", "sys"]),
    ("config", &["filters", "event", "sys"]),
    ("filters", &["event"]),
    ("sys", &[]),
    ("event", &[]),
];

/// Single files that see one module more than their neighbours do.
const LAYER_EXTRAS: &[(&str, &str)] =
    &[("src/policy/gate.rs", "sys"), ("src/policy/hook.rs", "sys")];

/// Words that say nothing about what a file holds.
const EMPTY_NAMES: &[&str] = &[
    "common", "util", "utils", "helper", "helpers", "misc", "manager", "handler", "info", "data",
];

/// More lines of code than this in one file is a question that must be answered by splitting it.
const FILE_LINES: usize = 600;

#[test]
fn each_module_sees_only_the_layers_below_it() {
    let modules = top_modules();
    let mut breaches = String::new();
    for source in sources("src") {
        let Some(home) = source.module() else {
            continue;
        };
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == home) else {
            writeln!(
                breaches,
                "{}: module '{home}' has no row in the layer table",
                source.name
            )
            .unwrap();
            continue;
        };
        for (line, seen) in source.modules_named(&modules) {
            let extra = LAYER_EXTRAS.contains(&(source.name.as_str(), seen.as_str()));
            if seen != home && !below.contains(&seen.as_str()) && !extra {
                writeln!(
                    breaches,
                    "{}:{line}: '{home}' may not see '{seen}'",
                    source.name
                )
                .unwrap();
            }
        }
    }
    assert_eq!(breaches, "", "\n{breaches}");
}

#[test]
fn unsafe_code_lives_in_sys_alone() {
    refuse_words(&["unsafe"], |name| name.starts_with("src/sys/"));
}

#[test]
fn every_other_module_forbids_unsafe_code_at_its_root() {
    let mut missing = String::new();
    for source in sources("src") {
        let is_root = source.depth() == 1 || source.name == "src/bin/fsmon.rs";
        if is_root
            && source.module() != Some("sys")
            && !source.code.contains("#![forbid(unsafe_code)]")
        {
            writeln!(missing, "{}: lacks #![forbid(unsafe_code)]", source.name).unwrap();
        }
    }
    assert_eq!(missing, "", "\n{missing}");
}

#[test]
fn dependencies_stay_in_their_rooms() {
    refuse_words(&["tokio"], |name| {
        name.starts_with("src/monitor/") || name.starts_with("src/bin/")
    });
    refuse_words(&["clap"], |name| name.starts_with("src/bin/"));
    refuse_words(&["libc"], |name| {
        name.starts_with("src/sys/") || name == "src/fid_parser/bits.rs"
    });
    refuse_words(&["dashmap"], |name| {
        name.starts_with("src/dir_cache/") || name.starts_with("src/proc_cache/")
    });
}

#[test]
fn only_commands_and_the_reporter_print() {
    refuse_words(
        &[
            "println", "eprintln", "print", "eprint", "dbg", "stdout", "stderr",
        ],
        |name| name.starts_with("src/bin/") || name == "src/monitor/report.rs",
    );
}

#[test]
fn no_file_has_an_empty_name() {
    let mut found = String::new();
    for path in files(&["src", "tests", "docs"], "") {
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let folders = path.parent().into_iter().flat_map(Path::components);
        // tests/data holds recorded fixtures; everywhere else the word says nothing.
        let folder_is_empty = folders
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .any(|part| part != "data" && EMPTY_NAMES.contains(&part.as_str()));
        if EMPTY_NAMES.contains(&stem.as_str()) || folder_is_empty {
            writeln!(found, "{}", path.display()).unwrap();
        }
    }
    assert_eq!(found, "", "\n{found}");
}

#[test]
fn nothing_is_left_for_later() {
    // Spelled in two halves so that this list does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
    ];
    let macros = [concat!("to", "do!"), concat!("unimpl", "emented!")];
    let mut found = String::new();
    for path in files(&["src", "tests", "docs", ".ci"], "")
        .into_iter()
        .chain([PathBuf::from("README.md")])
    {
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (number, line) in numbered(&text) {
            if words.iter().any(|word| has_word(line, word))
                || macros.iter().any(|word| line.contains(word))
            {
                writeln!(found, "{}:{number}: {}", path.display(), line.trim()).unwrap();
            }
        }
    }
    assert_eq!(found, "", "\n{found}");
}

#[test]
fn an_ignored_test_says_why() {
    let bare = concat!("#[ign", "ore]");
    let mut found = String::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        for (number, line) in numbered(&source.code) {
            if line.contains(bare) {
                writeln!(
                    found,
                    "{}:{number}: give the reason: #[ignore = \"...\"]",
                    source.name
                )
                .unwrap();
            }
        }
    }
    assert_eq!(found, "", "\n{found}");
}

#[test]
fn no_test_sleeps_to_be_in_time() {
    let call = concat!("thread::", "sleep");
    let mut found = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        found.extend(
            numbered(&source.code)
                .filter(|(_, line)| line.contains(call))
                .map(|(number, _)| format!("{}:{number}", source.name)),
        );
    }
    // The one place that waits between two looks at a condition with a deadline.
    let (poll, elsewhere): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|place| place.starts_with("tests/kernel/wait.rs:"));
    assert_eq!(
        elsewhere,
        Vec::<String>::new(),
        "wait for a condition (tests/kernel/wait.rs), not for time"
    );
    assert!(poll.len() <= 1, "one place that sleeps is enough: {poll:?}");
}

#[test]
fn no_file_outgrows_its_subject() {
    let mut found = String::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let lines = source.lines_of_code();
        if lines > FILE_LINES {
            writeln!(
                found,
                "{}: {lines} lines of code (at most {FILE_LINES})",
                source.name
            )
            .unwrap();
        }
    }
    assert_eq!(found, "", "\n{found}");
}

#[test]
fn every_link_in_the_docs_leads_somewhere() {
    let mut broken = String::new();
    for path in files(&["docs"], "md")
        .into_iter()
        .chain([PathBuf::from("README.md")])
    {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        for (number, target) in links(&text) {
            if target.starts_with("http://") || target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let wanted = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap_or(Path::new("")).join(file)
            };
            let there = root().join(&wanted);
            if !there.try_exists().unwrap() {
                writeln!(broken, "{}:{number}: {target}", path.display()).unwrap();
            } else if !anchor.is_empty()
                && !anchors(&fs::read_to_string(there).unwrap()).contains(anchor)
            {
                writeln!(
                    broken,
                    "{}:{number}: no heading '#{anchor}' in {}",
                    path.display(),
                    wanted.display()
                )
                .unwrap();
            }
        }
    }
    assert_eq!(broken, "", "\n{broken}");
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let mut reached = BTreeSet::from([PathBuf::from("README.md")]);
    let mut next = vec![PathBuf::from("README.md")];
    while let Some(page) = next.pop() {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        for (_, target) in links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            let wanted = clean_path(&page.parent().unwrap_or(Path::new("")).join(file));
            if file.ends_with(".md") && !file.contains("://") && reached.insert(wanted.clone()) {
                next.push(wanted);
            }
        }
    }
    let lost: Vec<_> = files(&["docs"], "md")
        .into_iter()
        .filter(|page| !reached.contains(page))
        .collect();
    assert_eq!(lost, Vec::<PathBuf>::new(), "no page links to these");
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

/// One source file with comments and literals blanked out.
struct Source {
    name: String,
    code: String,
}

impl Source {
    /// The top-level module that the file belongs to; `None` for lib.rs, the binary and tests.
    fn module(&self) -> Option<&str> {
        let first = self.name.strip_prefix("src/")?.split('/').next()?;
        let first = first.strip_suffix(".rs").unwrap_or(first);
        (first != "lib" && first != "bin").then_some(first)
    }

    /// How deep the module is below the crate: 1 for `filters`, 2 for `filters::size`.
    fn depth(&self) -> usize {
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

    /// Top-level modules named in `crate::` paths, or through enough `super::` to leave the own one.
    fn modules_named(&self, modules: &BTreeSet<String>) -> Vec<(usize, String)> {
        let mut seen = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            if at > 0 && is_word(self.code.as_bytes()[at - 1]) {
                continue;
            }
            let line = line_of(&self.code, at);
            let rest = self.code[at + "crate::".len()..].trim_start();
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
        for (at, _) in self.code.match_indices(&up) {
            let name = word_at(self.code[at + up.len()..].trim_start_matches("super::"));
            if modules.contains(&name) {
                seen.push((line_of(&self.code, at), name));
            }
        }
        seen
    }

    /// Lines that hold code, without the tests at the end of the file.
    fn lines_of_code(&self) -> usize {
        let body = self
            .code
            .find("#[cfg(test)]\nmod tests {")
            .map_or(self.code.as_str(), |end| &self.code[..end]);
        body.lines().filter(|line| !line.trim().is_empty()).count()
    }
}

/// Fails with `file:line` for each of `words` in the code of src/ outside the files that `allowed` names.
fn refuse_words(words: &[&str], allowed: impl Fn(&str) -> bool) {
    let mut found = String::new();
    for source in sources("src") {
        if allowed(&source.name) {
            continue;
        }
        for (number, line) in numbered(&source.code) {
            if let Some(word) = words.iter().find(|word| has_word(line, word)) {
                writeln!(found, "{}:{number}: {word}", source.name).unwrap();
            }
        }
    }
    assert_eq!(found, "", "\n{found}");
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
fn code_of(text: &str) -> String {
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

/// Targets of `[text](target)` outside code, with their line numbers.
fn links(markdown: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (number, line) in numbered(markdown) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block || line.starts_with("    ") {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let inside_code = line[..at].matches('`').count() % 2 == 1;
            let rest = &line[at + 2..];
            if let (false, Some(end)) = (inside_code, rest.find(')')) {
                found.push((number, rest[..end].to_owned()));
            }
        }
    }
    found
}

/// The anchors of a page's headings: lower case, blanks to dashes, other signs dropped.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// The path without `.` and with `..` taken back, as text.
fn clean_path(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn top_modules() -> BTreeSet<String> {
    sources("src")
        .iter()
        .filter_map(|source| source.module().map(str::to_owned))
        .collect()
}

fn sources(folder: &str) -> Vec<Source> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        Source {
            name: path.to_string_lossy().into_owned(),
            code: code_of(&text),
        }
    };
    files(&[folder], "rs").into_iter().map(read).collect()
}

/// All files below `folders` with the extension (any, when empty), as paths from the root of the package, sorted.
fn files(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else if extension.is_empty() || path.extension().is_some_and(|have| have == extension)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn word_at(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn has_word(line: &str, word: &str) -> bool {
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

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
