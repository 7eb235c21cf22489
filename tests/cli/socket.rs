//! What add and remove do with the answers of a daemon.

use std::fs;

use crate::sandbox::Sandbox;

const DONE: &str = "ok = true\n\n";
const NEVER: &str = "ok = false\nerror = \"cannot\\u001B mark\"\nerror_kind = \"Permanent\"\n\n";
const LATER: &str = "ok = false\nerror = \"busy\"\nerror_kind = \"Transient\"\n\n";
const UNKNOWN: &str = "ok = false\nerror = \"Path not found: /usr\"\n\n";

#[test]
fn a_daemon_that_accepts_is_told_in_the_bytes_of_0_3() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon(&[DONE, DONE, DONE]);
    let added = sandbox.run([
        "add", "_global", "--path", "/usr", "-r", "-t", "CREATE", "-t", "DELETE", "-s", ">=0",
    ]);
    added.prints("Entry added into monitored\n");
    assert_eq!(added.err, "");
    let removed = sandbox.run(["remove", "_global", "--path", "/usr"]);
    removed.prints("");
    assert_eq!(
        removed.err,
        "Entry removed\nThe running daemon has stopped watching it.\n"
    );
    sandbox.run(["add", "x", "--path", "/usr"]);
    assert_eq!(
        daemon.join().unwrap()[..2],
        [
            "cmd = \"add\"\npath = \"/usr\"\nrecursive = true\ntypes = [\"CREATE\", \"DELETE\"]\nsize = \">=0\"\n\
             track_cmd = \"_global\"\n\n\n",
            "cmd = \"remove\"\npath = \"/usr\"\ntrack_cmd = \"_global\"\n\n\n",
        ]
    );
}

#[test]
fn removing_a_whole_group_reaches_the_daemon() {
    let sandbox = Sandbox::new();
    sandbox.run(["add", "nginx", "--path", "/usr", "--path", "/etc"]);
    let daemon = sandbox.daemon(&[DONE]);
    sandbox.run(["remove", "nginx"]).prints("");
    assert_eq!(
        daemon.join().unwrap(),
        ["cmd = \"remove\"\ntrack_cmd = \"nginx\"\n\n\n"]
    );
}

#[test]
fn a_permanent_refusal_takes_the_entry_back() {
    let sandbox = Sandbox::new();
    sandbox.run(["add", "x", "--path", "/usr", "-r"]);
    let before = sandbox.store_text();
    let daemon = sandbox.daemon(&[NEVER, NEVER, NEVER]);
    sandbox.run(["add", "x", "--path", "/etc"]).fails(
        1,
        &["cannot watch '/etc': the daemon refused: cannot\\u{1b} mark"],
    );
    assert_eq!(sandbox.store_text(), before);
    let replaced = sandbox.run(["add", "x", "--path", "/usr", "-t", "CREATE"]);
    assert_eq!((replaced.code, replaced.out.as_str()), (1, ""));
    assert_eq!(sandbox.store_text(), before);
    sandbox
        .run(["remove", "x"])
        .fails(1, &["cannot stop watching"]);
    assert_eq!(sandbox.store_text(), before);
    daemon.join().unwrap();
}

#[test]
fn a_transient_refusal_keeps_the_entry_and_is_a_failure() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon(&[LATER, LATER]);
    let added = sandbox.run(["add", "x", "--path", "/usr"]);
    assert_eq!(
        (added.code, added.out.as_str()),
        (1, "Entry added into monitored\n")
    );
    assert!(
        added
            .err
            .starts_with("fsmon: '/usr' is not watched yet: the daemon refused: busy\n  hint: "),
        "{added:?}"
    );
    assert!(sandbox.store_text().contains("/usr"));
    sandbox
        .run(["remove", "x"])
        .fails(1, &["may still be watched"]);
    assert_eq!(sandbox.store_text(), "");
    daemon.join().unwrap();
}

#[test]
fn a_daemon_that_does_not_watch_it_has_nothing_to_stop() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon(&[LATER, UNKNOWN]);
    sandbox.run(["add", "x", "--path", "/usr"]);
    // It started after the entry had been taken out of the store.
    let removed = sandbox.run(["remove", "x", "--path", "/usr"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert_eq!(sandbox.store_text(), "");
    daemon.join().unwrap();
}

#[test]
fn one_refused_path_does_not_undo_the_others() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon(&[DONE, NEVER]);
    let added = sandbox.run(["add", "x", "--path", "/usr", "--path", "/etc"]);
    assert_eq!(
        (added.code, added.out.as_str()),
        (1, "Entry added into monitored\n")
    );
    assert_eq!(
        sandbox.store_text(),
        "{\"cmd\":\"x\",\"paths\":{\"/usr\":{\"recursive\":false}}}\n"
    );
    daemon.join().unwrap();
}

#[test]
fn a_daemon_that_hangs_up_is_not_one_that_does_not_run() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon(&[""]);
    let added = sandbox.run(["add", "x", "--path", "/usr"]);
    assert_eq!(added.code, 1);
    assert!(added.err.contains("closed without an answer"), "{added:?}");
    daemon.join().unwrap();
}

#[test]
fn something_else_in_the_place_of_the_socket_is_not_talked_to() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("sock"), "").unwrap();
    let added = sandbox.run(["add", "x", "--path", "/usr"]);
    assert_eq!(added.code, 1);
    assert!(added.err.contains("is not its own"), "{added:?}");
}
