//! Keeps the docs true: their examples parse, their commands exist, their help texts are what the program prints.
//!
//! `FSMON_TEST=update-docs cargo test --test docs` writes the help texts anew
//! instead of comparing them.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the docs has nothing better to do than stop"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const COMMANDS: [&str; 8] = [
    "daemon",
    "add",
    "remove",
    "monitored",
    "query",
    "clean",
    "init",
    "cd",
];

#[test]
fn every_toml_block_is_toml() {
    for block in blocks_of("toml") {
        let parsed = block.text.parse::<toml::Table>();
        assert!(
            parsed.is_ok(),
            "{}: {}\n{}",
            block.place,
            parsed.unwrap_err(),
            block.text
        );
    }
}

#[test]
fn every_json_line_is_json() {
    let lines = blocks_of("json").into_iter().chain(blocks_of("jsonl"));
    for block in lines {
        for line in block.text.lines().filter(|line| !line.trim().is_empty()) {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
            assert!(
                parsed.is_ok(),
                "{}: {}\n{line}",
                block.place,
                parsed.unwrap_err()
            );
        }
    }
}

#[test]
fn every_event_line_has_the_ten_keys_in_order() {
    let keys = [
        "time",
        "event_type",
        "path",
        "pid",
        "cmd",
        "user",
        "file_size",
        "ppid",
        "tgid",
        "chain",
    ];
    for block in blocks_of("jsonl") {
        for line in block
            .text
            .lines()
            .filter(|line| line.contains("\"event_type\""))
        {
            let mut from = 0;
            for key in keys {
                let at = line[from..].find(&format!("\"{key}\":"));
                assert!(
                    at.is_some(),
                    "{}: '{key}' is missing or out of order in\n{line}",
                    block.place
                );
                from += at.unwrap_or_default();
            }
        }
    }
}

#[test]
fn ci_runs_the_test_command_of_the_readme() {
    let readme = read("README.md");
    let block = readme
        .split_once("<!-- test command -->")
        .expect("the README marks its test command")
        .1;
    let block = block
        .trim_start()
        .strip_prefix("```sh\n")
        .expect("a block follows the mark");
    let command = block.split_once("\n```").expect("the block ends").0;
    let printed = Command::new(root().join(".ci/run"))
        .arg("test-command")
        .output()
        .unwrap();
    assert!(printed.status.success());
    assert_eq!(
        String::from_utf8_lossy(&printed.stdout),
        format!("{command}\n")
    );
    assert!(
        command.starts_with("cargo test") && command.lines().count() == 1,
        "{command}"
    );
}

#[test]
fn the_build_line_names_a_file_that_cargo_makes() {
    let readme = read("README.md");
    assert!(readme.contains("cargo build --release && "));
    assert!(readme.contains("./target/release/fsmon daemon"));
}

#[test]
fn every_command_has_a_page_with_its_own_help() {
    for name in COMMANDS {
        let path = root().join(format!("docs/commands/{name}.md"));
        let page = fs::read_to_string(&path).unwrap();
        let help = format!(
            "```text\n$ fsmon {name} --help\n{}\n```",
            help_of(&[name]).trim_end()
        );
        let start = page
            .find("```text\n$ fsmon ")
            .expect("the page holds its help");
        let end = start + 7 + page[start + 7..].find("\n```").expect("the block ends") + 4;
        if updating() {
            fs::write(&path, [&page[..start], &help, &page[end..]].concat()).unwrap();
        } else {
            assert_eq!(
                &page[start..end],
                help,
                "{}: see the head of tests/docs.rs",
                path.display()
            );
        }
    }
}

#[test]
fn every_flag_in_an_example_exists() {
    for block in blocks_of("sh").into_iter().chain(blocks_of("console")) {
        for line in block.text.lines() {
            let words: Vec<_> = line
                .split_whitespace()
                .map(|word| word.trim_matches(['"', '\'']))
                .collect();
            for (at, word) in words.iter().enumerate() {
                let is_program = *word == "fsmon" || word.ends_with("/fsmon");
                let Some(name) = words
                    .get(at + 1)
                    .filter(|name| is_program && COMMANDS.contains(name))
                else {
                    continue;
                };
                let help = help_of(&[name]);
                let rest = words[at + 2..]
                    .iter()
                    .take_while(|word| !["&&", "|", ";", "&"].contains(word));
                for flag in rest.filter(|word| word.starts_with("--")) {
                    assert!(
                        help.contains(flag),
                        "{}: 'fsmon {name}' has no {flag}\n{line}",
                        block.place
                    );
                }
            }
        }
    }
}

/// A fenced block: where it begins, and what stands in it.
struct Block {
    place: String,
    text: String,
}

/// Every block whose fence names `language`.
fn blocks_of(language: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    for path in pages() {
        let page = read(path.to_str().unwrap());
        let mut open: Option<(String, Block)> = None;
        for (index, line) in page.lines().enumerate() {
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (None, Some(fence)) => {
                    let place = format!("{}:{}", path.display(), index + 1);
                    open = Some((
                        fence.to_owned(),
                        Block {
                            place,
                            text: String::new(),
                        },
                    ));
                }
                (Some(_), Some(_)) => {
                    blocks.extend(
                        open.take()
                            .filter(|(fence, _)| fence == language)
                            .map(|(_, block)| block),
                    );
                }
                (Some((_, block)), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", path.display());
    }
    blocks
}

fn help_of(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fsmon"));
    // The width of the terminal that runs the tests is none of our business.
    let output = command
        .args(words)
        .arg("--help")
        .env_remove("COLUMNS")
        .output()
        .unwrap();
    assert!(output.status.success(), "fsmon {words:?} --help");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

fn updating() -> bool {
    std::env::var("FSMON_TEST")
        .is_ok_and(|switches| switches.split(',').any(|switch| switch == "update-docs"))
}

fn pages() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("README.md")];
    for folder in ["docs", "docs/commands", "docs/decisions"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = Path::new(folder).join(entry.unwrap().file_name());
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
