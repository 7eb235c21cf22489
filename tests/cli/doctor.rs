//! doctor, as far as it needs no rights.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::sandbox::Sandbox;

fn findings(sandbox: &Sandbox, args: &[&str]) -> Value {
    let run = sandbox.run([&["doctor", "--json", "--no-test"], args].concat());
    let found: Value = serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{run:?}"));
    assert_eq!(run.code == 0, found["ok"] == true, "{run:?}");
    assert!([0, 1].contains(&run.code), "{run:?}");
    found
}

fn check<'a>(found: &'a Value, name: &str) -> &'a Value {
    let checks = found["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()
}

#[test]
fn doctor_tells_one_object_with_every_part() {
    let sandbox = Sandbox::new();
    let found = findings(&sandbox, &[]);
    for part in ["kernel", "processes", "rights", "limits", "files"] {
        let checks = found["checks"].as_array().unwrap();
        assert!(
            checks.iter().any(|check| check["part"] == part),
            "{found:#}"
        );
    }
    assert_eq!(found["paths_from"], "nobody");
    assert_eq!(found["paths"][0]["path"], "/");
    assert_eq!(found["test"], Value::Null);
    assert_eq!(check(&found, "daemon")["state"], "ok");
    assert!(!sandbox.log_dir().is_dir(), "looking makes nothing");
}

#[test]
fn doctor_looks_at_the_watched_paths_and_says_that_nobody_records_them() {
    let sandbox = Sandbox::new();
    let later = sandbox.path("later");
    assert_eq!(sandbox.run(["add", "_global", "--path", &later]).code, 0);
    let found = findings(&sandbox, &[]);
    assert_eq!(
        (&found["paths_from"], &found["paths"][0]["path"]),
        (&"store".into(), &later.into())
    );
    assert_eq!(check(&found, "daemon")["state"], "limited");
}

#[test]
fn doctor_does_not_trust_what_stands_at_the_places_of_its_files() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("sock"), "").unwrap();
    fs::write(sandbox.path("no-directory"), "").unwrap();
    sandbox.configure(&format!(
        "[logging]\npath = \"{}/logs\"\n",
        sandbox.path("no-directory")
    ));
    let found = findings(&sandbox, &[]);
    for name in ["socket", "logs", "daemon"] {
        assert_eq!(check(&found, name)["state"], "missing", "{name}: {found:#}");
    }
}

#[test]
fn doctor_says_of_a_daemon_that_it_is_another_version() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon(&["ok = true\n[health]\nversion = \"0.0.1\"\npid = 4711\n\n"]);
    let found = findings(&sandbox, &[]);
    assert_eq!(daemon.join().unwrap(), ["cmd = \"health\"\n\n\n"]);
    let told = check(&found, "daemon");
    assert_eq!(told["state"], "limited");
    assert!(
        told["text"]
            .as_str()
            .unwrap()
            .contains("process 4711 is fsmon 0.0.1")
    );
}

#[test]
fn doctor_names_a_path_that_leads_nowhere_and_goes_on() {
    let sandbox = Sandbox::new();
    symlink("loop", sandbox.path("loop")).unwrap();
    let found = findings(&sandbox, &[&sandbox.path("loop"), "/"]);
    let paths = found["paths"].as_array().unwrap();
    assert_eq!(paths.len(), 2);
    let lost = paths.iter().find(|path| path["path"] != "/").unwrap();
    assert_eq!(lost["state"], "missing");
    assert_eq!(found["ok"], false);
}

#[test]
fn a_path_that_no_watch_takes_is_told_alone() {
    let sandbox = Sandbox::new();
    let foreign = OsStr::from_bytes(b"/tmp/\xff");
    let args = [OsStr::new("doctor"), OsStr::new("--no-test"), foreign];
    sandbox.run(args).fails(2, &["has to be UTF-8"]);
}

#[test]
fn doctor_is_read_as_far_as_its_reader_likes() {
    Sandbox::new()
        .run_for_a_glance(["doctor"])
        .succeeds_silently();
}

#[test]
fn doctor_shows_no_colours_and_breaks_no_lines_in_a_pipe() {
    let run = Sandbox::new().run(["doctor", "--no-test", "/"]);
    assert!(!run.out.contains('\x1b'), "{run:?}");
    for title in [
        "Kernel\n",
        "Processes\n",
        "Rights\n",
        "Limits\n",
        "Files\n",
        "Paths\n",
    ] {
        assert!(run.out.contains(title), "{run:?}");
    }
    // No line begins deeper than a row's text would, unless it is a hint.
    let deep = run
        .out
        .lines()
        .filter(|line| line.starts_with("          "));
    assert!(
        deep.clone()
            .all(|line| line.trim_start().starts_with("hint: ")),
        "{run:?}"
    );
}
