//! Keeps the docs true: their examples parse, their commands exist, their help texts are what the program prints.
//!
//! `FSMON_UPDATE_DOCS=1 cargo test --test docs` writes the help texts anew instead
//! of comparing them.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the docs has nothing better to do than stop"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fsmon::socket::proto::{Reply, Request};

const COMMANDS: [&str; 16] = [
    "daemon",
    "add",
    "remove",
    "monitored",
    "query",
    "changes",
    "tail",
    "watch",
    "policy",
    "health",
    "verify",
    "doctor",
    "why",
    "clean",
    "init",
    "cd",
];

#[test]
fn every_request_and_reply_is_one() {
    for block in blocks_of("toml")
        .into_iter()
        .filter(|block| block.place.starts_with("docs/protocol.md"))
    {
        if block.text.starts_with("ok =") {
            let parsed = Reply::parse(&block.text);
            assert!(parsed.is_ok(), "{}: {}", block.place, parsed.unwrap_err());
        } else {
            let parsed = Request::parse(&block.text);
            assert!(parsed.is_ok(), "{}: {}", block.place, parsed.unwrap_err());
        }
    }
}

#[test]
fn every_configuration_is_accepted_and_every_wrong_one_refused() {
    let sections = [
        "[monitored]",
        "[logging]",
        "[socket]",
        "[cache]",
        "[capture]",
    ];
    let configs = blocks_of("toml")
        .into_iter()
        .chain(blocks_of("toml must-fail"));
    for block in configs.filter(|block| sections.iter().any(|section| block.text.contains(section)))
    {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".config/fsmon")).unwrap();
        fs::write(home.path().join(".config/fsmon/fsmon.toml"), &block.text).unwrap();
        let output = program(home.path()).arg("monitored").output().unwrap();
        let wanted = if block.must_fail { Some(2) } else { Some(0) };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), wanted, "{}: {said}", block.place);
    }
}

#[test]
fn the_defaults_in_the_help_are_those_in_the_configuration_page() {
    let help = help_of(&["daemon"]);
    let sample = blocks_of("toml")
        .into_iter()
        .find(|block| block.place.starts_with("docs/config.md"));
    let sample: toml::Table = sample
        .expect("config.md begins with the defaults")
        .text
        .parse()
        .unwrap();
    for (flag, key) in [
        ("--cache-dir-cap", "dir_capacity"),
        ("--cache-dir-ttl", "dir_ttl_secs"),
        ("--cache-file-size", "file_size_capacity"),
        ("--cache-proc-ttl", "proc_ttl_secs"),
        ("--cache-stats-interval", "stats_interval_secs"),
        ("--buffer-size", "buffer_size"),
    ] {
        let about = help.split_once(&format!("{flag} <")).expect(flag).1;
        let shown = about.split_once("[default: ").expect(flag).1;
        let shown = shown.split_once(']').expect(flag).0;
        assert_eq!(
            shown,
            sample["cache"][key].to_string(),
            "{flag} and [cache] {key}"
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
            assert!(
                fsmon::log::line::decode(line.as_bytes()).is_some(),
                "{}: not an event\n{line}",
                block.place
            );
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
        let help = help_of(&[name]);
        assert!(help.contains("Usage: fsmon"), "{name}: {help}");
        let help = format!("```text\n$ fsmon {name} --help\n{}\n```", help.trim_end());
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
    must_fail: bool,
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
                    let must_fail = fence.ends_with("must-fail");
                    open = Some((
                        fence.to_owned(),
                        Block {
                            place,
                            text: String::new(),
                            must_fail,
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

/// fsmon at home in `home`, with nothing of the environment that could change what it does.
fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fsmon"));
    command.env("HOME", home);
    for name in [
        "XDG_CONFIG_HOME",
        "SUDO_UID",
        "SUDO_GID",
        "SUDO_USER",
        "FSMON_TEST",
        "COLUMNS",
    ] {
        command.env_remove(name);
    }
    command
}

fn help_of(words: &[&str]) -> String {
    let output = program(root()).args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "fsmon {words:?} --help");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let sources: String = rust_files(&root().join("tests"))
        .chain(rust_files(&root().join("src")))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let page = read("docs/security.md");
    let named = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.trim_end_matches(" |").rsplit_once(" | "))
        .flat_map(|(_, last)| last.split('`').skip(1).step_by(2))
        .filter(|name| name.contains('_') || *name == "flood");
    let mut count = 0;
    for name in named {
        count += 1;
        let exists =
            sources.contains(&format!("fn {name}()")) || sources.contains(&format!("\"{name}\","));
        assert!(exists, "there is no test '{name}'");
    }
    assert!(count > 30, "only {count} tests are named");
}

fn rust_files(folder: &Path) -> Box<dyn Iterator<Item = PathBuf>> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    Box::new(
        entries.flat_map(|path| -> Box<dyn Iterator<Item = PathBuf>> {
            if path.is_dir() {
                rust_files(&path)
            } else {
                let is_rust = path.extension().is_some_and(|extension| extension == "rs");
                Box::new(is_rust.then_some(path).into_iter())
            }
        }),
    )
}

fn updating() -> bool {
    std::env::var_os("FSMON_UPDATE_DOCS").is_some()
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
