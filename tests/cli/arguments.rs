//! Help, usage errors, exit codes, closed pipes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::sandbox::Sandbox;

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
fn without_a_command_the_help_is_an_error() {
    let sandbox = Sandbox::new();
    let bare = sandbox.run::<&str>([]);
    assert_eq!((bare.code, bare.out.as_str()), (2, ""));
    for command in COMMANDS {
        assert!(
            bare.err.contains(&format!("\n  {command} ")),
            "{}",
            bare.err
        );
    }
    assert!(!bare.err.contains("list-monitored-paths"));
}

#[test]
fn help_is_on_stdout() {
    let sandbox = Sandbox::new();
    for args in [&["help"][..], &["--help"], &["-h"]] {
        let help = sandbox.run(args);
        assert_eq!((help.code, help.err.as_str()), (0, ""), "{args:?}");
        assert!(help.out.contains("Usage: fsmon <COMMAND>"));
    }
    for command in COMMANDS {
        let short = sandbox.run([command, "-h"]);
        let long = sandbox.run([command, "--help"]);
        assert!(
            short.out.ends_with("Print help (see more with '--help')\n") || short.out == long.out,
            "{command}"
        );
        assert_eq!(sandbox.run(["help", command]).out, long.out);
    }
}

#[test]
fn version_is_that_of_the_package() {
    let expected = concat!("fsmon ", env!("CARGO_PKG_VERSION"), "\n");
    Sandbox::new().run(["-V"]).prints(expected);
    Sandbox::new().run(["--version"]).prints(expected);
}

#[test]
fn wrong_usage_is_exit_2_and_touches_nothing() {
    let sandbox = Sandbox::new();
    for args in [
        &["bogus"][..],
        &["add"],
        &["add", "x"],
        &["add", "--path", "/a"],
        &["add", "x", "--path", ""],
        &["add", "x", "--path", "/a", "--max-depth", "-1"],
        &["remove"],
        &["clean"],
        &["monitored", "x"],
        &["doctor", "--no-test", "--test-in", "/tmp"],
        &["doctor-deed", "bogus"],
        &["daemon", "--cache-dir-cap", "x"],
    ] {
        let run = sandbox.run(args);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{args:?}");
        assert!(run.err.starts_with("error: "), "{args:?}: {}", run.err);
    }
    let foreign = [
        OsStr::new("add"),
        OsStr::from_bytes(b"\xff"),
        OsStr::new("--path"),
        OsStr::new("/a"),
    ];
    assert_eq!(sandbox.run(foreign).code, 2);
    assert!(!sandbox.store().is_file());
}

#[test]
fn cache_settings_out_of_range_are_errors_not_panics() {
    let sandbox = Sandbox::new();
    sandbox
        .run(["daemon", "--cache-file-size", "0"])
        .fails(2, &["--cache-file-size 0"]);
    sandbox
        .run(["daemon", "--buffer-size", "100"])
        .fails(2, &["--buffer-size 100", "4096"]);
    sandbox
        .run(["daemon", "--buffer-size", "99999999"])
        .fails(2, &["1048576"]);
    sandbox.configure("[cache]\ndir_ttl_secs = 0\n");
    sandbox
        .run(["daemon"])
        .fails(2, &["[cache] dir_ttl_secs = 0"]);
}

#[test]
fn a_bad_config_file_fails_every_command_and_names_the_line() {
    let sandbox = Sandbox::new();
    sandbox.configure("[logging]\nkept = 1\n");
    for args in [
        &["monitored"][..],
        &["add", "x", "--path", "/a"],
        &["query"],
        &["daemon"],
        &["init"],
    ] {
        sandbox
            .run(args)
            .fails(2, &["fsmon.toml', line 4", "unknown field `kept`"]);
    }
}

#[test]
fn a_closed_pipe_is_success() {
    let sandbox = Sandbox::new();
    let path = |n| format!("\"/{n:0>4000}\":{{\"recursive\":true}}");
    let paths: Vec<String> = (0..100).map(path).collect();
    sandbox.write_store(format!(
        "{{\"cmd\":\"x\",\"paths\":{{{}}}}}\n",
        paths.join(",")
    ));
    for args in [["monitored"], ["list-monitored-paths"]] {
        sandbox.run_for_a_glance(args).succeeds_silently();
    }
}
