//! add, remove, monitored, and the store they edit.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::sandbox::Sandbox;

const NOT_RUNNING: &str = "Daemon is not running — will be monitored after daemon restart.\n";

#[test]
fn add_writes_one_line_for_each_group() {
    let sandbox = Sandbox::new();
    let added = sandbox.run(["add", "_global", "--path", "/usr", "-r"]);
    added.prints("Entry added into monitored\n");
    assert_eq!(added.err, NOT_RUNNING);
    sandbox
        .run([
            "add", "nginx", "--path", "/var", "-t", "create", "-t", "MODIFY", "-s", ">=1MB",
        ])
        .prints("Entry added into monitored\n");
    sandbox
        .run(["add", "_global", "--path", "/etc"])
        .prints("Entry added into monitored\n");
    let expected = concat!(
        r#"{"cmd":"_global","paths":{"/etc":{"recursive":false},"/usr":{"recursive":true}}}"#,
        "\n",
        r#"{"cmd":"nginx","paths":{"/var":{"recursive":false,"types":["create","MODIFY"],"size":">=1MB"}}}"#,
        "\n"
    );
    assert_eq!(sandbox.store_text(), expected);
    sandbox.run(["monitored"]).prints(expected);
    sandbox
        .run(["list-monitored-paths"])
        .prints("/etc\n/usr\n/var\n");
}

#[test]
fn add_takes_several_paths_comma_lists_excludes_and_a_depth() {
    let sandbox = Sandbox::new();
    let args = [
        "add",
        "cargo",
        "--path",
        "/usr",
        "--path",
        "/var",
        "--recursive",
        "--max-depth",
        "3",
        "-t",
        "create,Delete",
    ];
    sandbox
        .run(args.into_iter().chain(["-x", "target/", "-x", "*.swp"]))
        .prints("Entry added into monitored\n");
    let options = r#"{"recursive":true,"types":["create","Delete"],"exclude":["target/","*.swp"],"max_depth":3}"#;
    assert_eq!(
        sandbox.store_text(),
        format!("{{\"cmd\":\"cargo\",\"paths\":{{\"/usr\":{options},\"/var\":{options}}}}}\n")
    );
}

#[test]
fn all_types_are_spelled_out_in_the_store() {
    let sandbox = Sandbox::new();
    sandbox.run(["add", "x", "--path", "/usr", "-t", "create,All"]);
    let all = r#"["ACCESS","MODIFY","CLOSE_WRITE","CLOSE_NOWRITE","OPEN","OPEN_EXEC","ATTRIB","CREATE","DELETE","DELETE_SELF","MOVED_FROM","MOVED_TO","MOVE_SELF","FS_ERROR"]"#;
    assert!(sandbox.store_text().contains(all));
}

#[test]
fn what_is_wrong_is_refused_before_the_store_is_touched() {
    let sandbox = Sandbox::new();
    let odd = " {\"cmd\":\"a\", \"paths\":{\"/1\":{}}}";
    sandbox.write_store(odd);
    let long = "x".repeat(201);
    for (args, words) in [
        (
            &["add", "x", "--path", "/a", "-t", "BOGUS"][..],
            &["'BOGUS' is not an event type"][..],
        ),
        (
            &["add", "x", "--path", "/a", "-t", "MODIFY,"],
            &["'' is not an event type"],
        ),
        (
            &["add", "x", "--path", "/a", "-s", "zz"],
            &["'zz' is not a size filter"],
        ),
        (
            &["add", "x", "--path", "/a", "-s", ">=1XB"],
            &["unknown unit 'XB'"],
        ),
        (
            &["add", "x", "--path", "/a", "-x", "[a"],
            &["'[a' is not an exclude pattern"],
        ),
        (
            &["add", "x", "--path", "/a", "--max-depth", "2"],
            &["needs --recursive"],
        ),
        (&["add", "", "--path", "/a"], &["'' is not a group name"]),
        (
            &["add", "a/b", "--path", "/a"],
            &["'a/b' is not a group name"],
        ),
        (
            &["add", "../evil", "--path", "/a"],
            &["is not a group name"],
        ),
        (&["add", ".x", "--path", "/a"], &["is not a group name"]),
        (
            &["add", "_alerts", "--path", "/a"],
            &["is not a group name"],
        ),
        (
            &["add", "a\nb", "--path", "/a"],
            &["'a\\nb' is not a group name"],
        ),
        (&["add", &long, "--path", "/a"], &["200 bytes"]),
        (
            &[
                "add", "x", "--path", "/a", "--path", "/b", "-t", "CREATE", "-t", "x",
            ],
            &["'x' is not an event type"],
        ),
    ] {
        sandbox.run(args).fails(2, words);
    }
    sandbox
        .run(["add", "fsmon", "--path", "/a"])
        .fails(1, &["cannot watch 'fsmon'"]);
    assert_eq!(sandbox.store_text(), odd);
}

#[test]
fn a_path_that_is_not_utf_8_leaves_the_store_as_it_was() {
    let sandbox = Sandbox::new();
    sandbox.run(["add", "x", "--path", "/usr"]);
    let before = sandbox.store_text();
    let bad = OsStr::from_bytes(b"/mnt/bad\xff\x1b[2J");
    let args = [
        OsStr::new("add"),
        OsStr::new("_global"),
        OsStr::new("--path"),
        bad,
    ];
    sandbox
        .run(args)
        .fails(2, &[r"'/mnt/bad\xff\u{1b}[2J'", "UTF-8"]);
    assert_eq!(sandbox.store_text(), before);
}

#[test]
fn paths_are_stored_absolute_clean_and_without_links() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.home().join("real/deep")).unwrap();
    fs::write(sandbox.home().join("file"), "").unwrap();
    symlink(sandbox.home().join("real"), sandbox.home().join("link")).unwrap();
    for (typed, stored) in [
        ("rel/x", "rel/x"),
        ("real/../real/./deep/", "real/deep"),
        ("~/tilde", "tilde"),
        ("link", "real"),
        ("link/new/x", "real/new/x"),
        ("file", "file"),
    ] {
        sandbox
            .run(["add", "x", "--path", typed])
            .prints("Entry added into monitored\n");
        sandbox
            .run(["list-monitored-paths"])
            .prints(&format!("{}\n", sandbox.path(stored)));
        sandbox.run(["remove", "x", "--path", typed]).prints("");
    }
}

#[test]
fn a_missing_path_is_noted() {
    let sandbox = Sandbox::new();
    let added = sandbox.run(["add", "x", "--path", "later"]);
    let note = "[Note] path does not exist yet — will start monitoring when created.\n";
    assert_eq!(added.err, format!("{note}{NOT_RUNNING}"));
}

#[test]
fn overlaps_are_noted_and_added_all_the_same() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.home().join("a/b/c")).unwrap();
    let (a, b, c) = (
        sandbox.path("a"),
        sandbox.path("a/b"),
        sandbox.path("a/b/c"),
    );
    sandbox.run(["add", "_global", "--path", &b, "-r"]);
    let same = sandbox.run(["add", "_global", "--path", &b, "-r"]).err;
    let words = "is already monitored — new parameters will replace the existing configuration.";
    assert_eq!(
        same,
        format!("[Note] '{b} with cmd _global' {words}\n{NOT_RUNNING}")
    );
    let inner = sandbox.run(["add", "nginx", "--path", &c]).err;
    assert_eq!(
        inner,
        format!(
            "[Note] '{c}' is under recursively monitored path '{b}' — events already covered.\n{NOT_RUNNING}"
        )
    );
    sandbox.run(["remove", "nginx"]);
    let outer = sandbox.run(["add", "nginx", "--path", &a, "-r"]).err;
    assert_eq!(
        outer,
        format!(
            "[Note] already monitored path '{b}' is under new recursive path '{a}' — events already covered.\n{NOT_RUNNING}"
        )
    );
    let beside = sandbox
        .run(["add", "x", "--path", &format!("{a}bc"), "-r"])
        .err;
    assert!(!beside.contains("covered"), "{beside}");
}

#[test]
fn a_tree_that_holds_the_logs_may_be_watched() {
    let sandbox = Sandbox::new();
    sandbox.run(["init"]);
    sandbox
        .run(["add", "_global", "--path", "/", "-r"])
        .prints("Entry added into monitored\n");
    sandbox
        .run([
            "add",
            "_global",
            "--path",
            sandbox.log_dir().to_str().unwrap(),
        ])
        .prints("Entry added into monitored\n");
}

#[test]
fn a_bad_line_is_reported_by_number_kept_and_stops_nothing() {
    let sandbox = Sandbox::new();
    let bad = b"garbage \xff\n{\"cmd\":\"x\",\"paths\":{\"/a\":{\"recursive\":true,\"types\":[\"BOGUS\"]}}}\n";
    sandbox.write_store(bad);
    let shown = sandbox.run(["monitored"]);
    shown.prints("");
    assert!(
        shown.err.contains("line 1 is kept but not used"),
        "{}",
        shown.err
    );
    assert!(
        shown
            .err
            .contains("line 2 is kept but not used: 'BOGUS' is not an event type"),
        "{}",
        shown.err
    );
    let added = sandbox.run(["add", "y", "--path", "/usr"]);
    added.prints("Entry added into monitored\n");
    assert!(added.err.contains("line 1 is kept"));
    let mut expected = bad.to_vec();
    expected.extend_from_slice(b"{\"cmd\":\"y\",\"paths\":{\"/usr\":{\"recursive\":false}}}\n");
    assert_eq!(sandbox.store_bytes(), expected);
    sandbox.run(["remove", "y"]).prints("");
    assert_eq!(sandbox.store_bytes(), bad);
}

#[test]
fn remove_takes_all_or_nothing() {
    let sandbox = Sandbox::new();
    sandbox.run(["add", "nginx", "--path", "/usr", "--path", "/etc"]);
    let before = sandbox.store_text();
    sandbox
        .run(["remove", "nosuch"])
        .fails(1, &["nothing is watched for 'nosuch'"]);
    sandbox
        .run(["remove", "nginx", "--path", "/usr", "--path", "/zzz"])
        .fails(1, &["'/zzz' is not watched for 'nginx'"]);
    assert_eq!(sandbox.store_text(), before);
    let removed = sandbox.run(["remove", "nginx", "--path", "/usr/"]);
    removed.prints("");
    assert!(
        removed.err.starts_with("Entry removed\n"),
        "{}",
        removed.err
    );
    sandbox.run(["remove", "nginx"]).prints("");
    assert_eq!(sandbox.store_text(), "");
    sandbox.run(["monitored"]).prints("");
}

#[test]
fn two_hundred_adds_at_once_leave_two_hundred_entries() {
    let sandbox = Sandbox::new();
    let add = |n| {
        let mut command = sandbox.command(["add", "x", "--path", &format!("/usr/{n}")]);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..200).map(add).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(
        sandbox.run(["list-monitored-paths"]).out.lines().count(),
        200
    );
    assert_eq!(
        fs::read_dir(sandbox.store().parent().unwrap())
            .unwrap()
            .count(),
        2
    );
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_and_the_old_one_stays() {
    let sandbox = Sandbox::new();
    sandbox.write_store("{\"cmd\":\"a\",\"paths\":{\"/1\":{\"recursive\":true}}}\n");
    // A directory in the place of the temporary file cannot be removed by unlink, even by root.
    fs::create_dir(
        sandbox
            .home()
            .join(".local/share/fsmon/monitored.jsonl.new"),
    )
    .unwrap();
    let before = sandbox.store_text();
    sandbox
        .run(["add", "x", "--path", "/usr"])
        .fails(1, &["cannot write the store"]);
    assert_eq!(sandbox.store_text(), before);
}
