//! What shells and man(1) are told about the commands.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::sandbox::Sandbox;

/// The commands that the help lists.
fn commands(sandbox: &Sandbox) -> BTreeSet<String> {
    let help = sandbox.run(["--help"]).out;
    let list = help.split_once("Commands:\n").unwrap().1;
    let list = list.split_once("\n\n").unwrap().0;
    let lines = list.lines().filter(|line| !line.starts_with("   "));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let names = names.filter(|name| *name != "help").map(str::to_owned);
    let names: BTreeSet<_> = names.collect();
    assert!(names.len() > 10 && names.contains("daemon"), "{help}");
    names
}

/// What bash offers when the last of the words is to be completed.
fn offered(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let script = sandbox.path("completions.bash");
    fs::write(&script, sandbox.run(["init", "--completions", "bash"]).out).unwrap();
    let program = r#"
        source "$1"; shift
        completer=$(complete -p fsmon | sed 's/.*-F \([^ ]*\) .*/\1/')
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        "$completer" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
        [ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args([
        "--norc",
        "-c",
        program,
        "bash",
        &script,
        env!("CARGO_BIN_EXE_fsmon"),
    ]);
    bash.args(words).env("HOME", sandbox.home());
    let done = bash.output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_shell_is_told_every_command_and_none_that_is_hidden() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = sandbox.run(["init", "--completions", shell]);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{shell}");
        for name in commands(&sandbox) {
            assert!(run.out.contains(&name), "{shell}: {name}");
        }
        // The groups are asked for, not offered as a command.
        for (hidden, asked) in [("list-monitored-paths", 1), ("list-groups", 1)] {
            assert_eq!(run.out.matches(hidden).count(), asked, "{shell}: {hidden}");
        }
    }
    let run = sandbox.run(["init", "--completions", "csh"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("bash, zsh, fish"), "{run:?}");
    assert!(fs::symlink_metadata(sandbox.log_dir()).is_err());
}

#[test]
fn bash_completes_commands_flags_groups_and_watched_paths() {
    let sandbox = Sandbox::new();
    sandbox.run(["add", "nginx", "--path", "/srv/web", "-r"]);
    sandbox.run(["add", "_global", "--path", "/srv/two words"]);
    sandbox.write_log("old one", "");
    sandbox.write_log("_alerts", "");
    let offered = |words: &[&str]| offered(&sandbox, words);
    let first: BTreeSet<_> = offered(&[""]).into_iter().collect();
    assert!(commands(&sandbox).is_subset(&first), "{first:?}");
    assert_eq!(offered(&["q"]), ["query"]);
    let groups = ["_alerts", "_global", "nginx", r"old\ one"];
    for command in ["query", "changes", "clean", "tail", "remove"] {
        assert_eq!(offered(&[command, ""]), groups, "{command}");
    }
    assert_eq!(offered(&["query", "-t", ">1h", "ng"]), ["nginx"]);
    assert_eq!(offered(&["tail", "nginx", "_gl"]), ["_global"]);
    assert_eq!(
        offered(&["remove", "nginx", "--path", "/srv/w"]),
        ["/srv/web"]
    );
    assert_eq!(
        offered(&["remove", "--path", ""]),
        ["/srv/web", r"/srv/two\ words"]
    );
    assert!(offered(&["query", "--"]).contains(&"--scan".to_owned()));
    assert_eq!(
        offered(&["init", "--completions", ""]),
        ["bash", "zsh", "fish"]
    );
    assert_eq!(offered(&["add", "x", "--path", "/et"]), ["/etc"]);
    assert_eq!(offered(&["daemon", "x"]), Vec::<String>::new());
}

#[test]
fn there_is_a_manual_page_for_each_command_and_none_that_is_hidden() {
    let sandbox = Sandbox::new();
    let dir = sandbox.home().join("share/man1");
    sandbox
        .run(["init", "--man", dir.to_str().unwrap()])
        .prints("");
    let found = fs::read_dir(&dir).unwrap();
    let found = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut expected: BTreeSet<_> = commands(&sandbox)
        .iter()
        .map(|name| format!("fsmon-{name}.1"))
        .collect();
    expected.extend(["fsmon.1".to_owned(), "fsmon-policy-check.1".to_owned()]);
    assert_eq!(found.collect::<BTreeSet<_>>(), expected);
    let page = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    for name in &expected {
        let title = name.strip_suffix(".1").unwrap();
        let page = page(name);
        assert!(page.contains(&format!(".TH {title} 1")), "{name}: {page}");
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "\"EXIT STATUS\"",
            "\"SEE ALSO\"",
        ] {
            assert!(
                page.contains(&format!(".SH {section}\n")),
                "{name}: {section}"
            );
        }
        assert!(!page.contains("list\\-"), "{name} names a hidden command");
    }
    assert!(page("fsmon-query.1").contains("\\fB\\-\\-scan\\fR"));
    let other = sandbox.home().join(".config/fsmon/fsmon.toml/x");
    sandbox
        .run(["init", "--man", other.to_str().unwrap()])
        .fails(1, &["cannot make", "fsmon.toml/x"]);
}
