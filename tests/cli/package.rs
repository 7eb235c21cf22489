//! The recipe of the Debian package, as far as it can be held against the sources without building it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_package_holds_files_that_exist() {
    let done = Command::new(root().join(".packaging/deb"))
        .arg("--list")
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let list = String::from_utf8(done.stdout).unwrap();
    for line in list.lines() {
        let (from, to) = line.split_once(' ').unwrap();
        assert!(!read(from).is_empty(), "{from}");
        assert!(to.starts_with("usr/"), "{to}");
    }
    assert!(list.contains("docs/fsmon.service usr/lib/systemd/system/fsmon.service\n"));
}

#[test]
fn the_recipe_fills_in_all_that_its_templates_leave_open() {
    let recipe = read(".packaging/deb");
    let open = |text: &str| {
        let words = text.split('@').skip(1).step_by(2);
        words.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    for template in ["control", "copyright"] {
        let names = open(&read(&format!(".packaging/{template}")));
        assert!(!names.is_empty(), "{template}");
        for name in names {
            assert!(recipe.contains(&format!("@{name}@")), "{template}: {name}");
        }
    }
    assert!(read("LICENSE").contains("Copyright (c) 2026 the fsmon authors"));
    assert!(read(".packaging/copyright").contains("\nCopyright: 2026 the fsmon authors\n"));
    for script in ["postinst", "prerm", "postrm"] {
        let file = root().join(".packaging").join(script);
        let done = Command::new("sh").arg("-n").arg(file).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        assert!(
            read(&format!(".packaging/{script}")).contains("\nset -e\n"),
            "{script}"
        );
    }
}

#[test]
fn the_unit_runs_the_program_wherever_it_is_installed() {
    let unit = read("docs/fsmon.service");
    let value = |key: &str| {
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{key}")).to_owned()
    };
    // Without a slash the manager looks in /usr/local/bin and /usr/bin.
    let start = value("ExecStart");
    let words: Vec<_> = start.split(' ').collect();
    let (program, words) = words.split_first().unwrap();
    assert_eq!(*program, "fsmon");
    let help = Command::new(env!("CARGO_BIN_EXE_fsmon"))
        .args(words)
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success(), "{start}");
    for page in value("Documentation").split(' ') {
        let page = page
            .strip_prefix("man:")
            .and_then(|page| page.strip_suffix("(1)"));
        let command = page
            .unwrap()
            .trim_start_matches("fsmon")
            .trim_start_matches('-');
        assert!(command.is_empty() || root().join(format!("docs/commands/{command}.md")).is_file());
    }
    assert!(read("docs/service.md").contains("(fsmon.service)"));
}
