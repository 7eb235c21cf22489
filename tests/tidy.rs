//! Keeps the house: who may see whom, where danger and dependencies live, and that the docs point at things that exist.
//!
//! Everything here reads source text; nothing is compiled or run. A rule that
//! fails prints `file:line` for each breach, so that the fix needs no search.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own sources has nothing better to do than stop"
)]

#[path = "tidy/markdown.rs"]
mod markdown;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use markdown::{anchors, clean_path, links};
use source::{Source, code_of, has_word, numbered};

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
            "manifest",
            "clean",
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
    ("manifest", &["log", "filters", "event", "sys"]),
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
    // To register a descriptor with tokio is unsafe, so one wrapper lives in sys.
    refuse_words(&["tokio"], |name| {
        name.starts_with("src/monitor/")
            || name.starts_with("src/bin/")
            || name == "src/sys/async_fd.rs"
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
        // Hooks are given what they print to.
        |name| {
            name.starts_with("src/bin/")
                || ["src/monitor/report.rs", "src/monitor/hooks.rs"].contains(&name)
        },
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
                path.parent().unwrap_or_else(|| Path::new("")).join(file)
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
            let wanted = clean_path(&page.parent().unwrap_or_else(|| Path::new("")).join(file));
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

/// Fails with `file:line` for each of `words` in the code of src/, its tests left out, outside the files that `allowed` names.
fn refuse_words(words: &[&str], allowed: impl Fn(&str) -> bool) {
    let mut found = String::new();
    for source in sources("src") {
        if allowed(&source.name) {
            continue;
        }
        for (number, line) in numbered(source.body()) {
            if let Some(word) = words.iter().find(|word| has_word(line, word)) {
                writeln!(found, "{}:{number}: {word}", source.name).unwrap();
            }
        }
    }
    assert_eq!(found, "", "\n{found}");
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
