//! query and clean on logs made by hand.

use std::fs;

use crate::sandbox::Sandbox;

fn line(time: &str, path: &str) -> String {
    format!(
        "{{\"time\":\"{time}\",\"event_type\":\"CREATE\",\"path\":\"{path}\",\"pid\":7,\"cmd\":\"touch\",\"user\":\"root\",\
         \"file_size\":0,\"ppid\":1,\"tgid\":7,\"chain\":\"\"}}\n"
    )
}

const MAY_1: &str = "2026-05-01T10:00:00.000000001Z";
const MAY_2: &str = "2026-05-02T10:00:00Z";
const MAY_3: &str = "2026-05-03T10:00:00.5Z";

#[test]
fn query_passes_stored_bytes_through_and_merges_all_logs_by_time() {
    let sandbox = Sandbox::new();
    let (one, two, three) = (
        line(MAY_1, "/a/1"),
        line(MAY_2, "/a/2"),
        line(MAY_3, "/ab/3"),
    );
    sandbox.write_log("_global", format!("{one}{three}"));
    sandbox.write_log("nginx", &two);
    sandbox.run(["query"]).prints(&format!("{one}{two}{three}"));
    sandbox
        .run(["query", "_global"])
        .prints(&format!("{one}{three}"));
    sandbox
        .run(["query", "-p", "/a/"])
        .prints(&format!("{one}{two}"));
    sandbox
        .run(["query", "-p", "/ab", "-p", "/a/2"])
        .prints(&format!("{two}{three}"));
    sandbox
        .run(["query", "-t", ">=2026-05-02", "-t", "<2026-05-03"])
        .prints(&two);
    sandbox
        .run(["query", "-t", ">2026-05-03T10:00:00.5Z"])
        .prints("");
    sandbox.run(["query", "-t", "now"]).prints("");
}

#[test]
fn a_log_in_the_wrong_order_is_told_and_can_be_scanned() {
    let sandbox = Sandbox::new();
    let lines = [MAY_3, MAY_1, MAY_2].map(|time| line(time, "/a"));
    sandbox.write_log("_global", lines.concat());
    let window = ["-t", ">=2026-05-01", "-t", "<2026-05-02"];
    for words in [&["query"][..], &["changes"]] {
        let run = sandbox.run([words, &window].concat());
        assert_eq!(run.code, 0, "{run:?}");
        for said in [
            "'_global_log.jsonl' is not sorted by time",
            "fsmon query --scan",
        ] {
            assert!(run.err.contains(said), "{run:?}");
        }
    }
    sandbox
        .run([&["query", "--scan"][..], &window].concat())
        .prints(&lines[1]);
}

#[test]
fn changes_tells_the_last_event_of_each_path_newest_first() {
    let sandbox = Sandbox::new();
    let lines = [
        line(MAY_1, "/a/1"),
        line(MAY_1, "/b/2"),
        line(MAY_2, "/a/1"),
        line(MAY_3, "/ab/3"),
    ];
    sandbox.write_log("_global", format!("{}{}{}", lines[0], lines[1], lines[3]));
    sandbox.write_log("nginx", &lines[2]);
    let [_, second, third, last] = &lines;
    sandbox
        .run(["changes"])
        .prints(&format!("{last}{third}{second}"));
    sandbox.run(["changes", "-p", "/a"]).prints(third);
    sandbox
        .run(["changes", "_global", "-t", "<2026-05-02"])
        .prints(&format!("{second}{}", lines[0]));
    sandbox
        .run(["changes", "nosuch"])
        .fails(1, &["there is no log of 'nosuch'"]);
    sandbox
        .run(["changes", "-t", "soon"])
        .fails(2, &["'soon' is not a time filter"]);
}

#[test]
fn query_without_a_log_is_a_failure_on_stderr() {
    let sandbox = Sandbox::new();
    sandbox
        .run(["query", "nosuch"])
        .fails(1, &["there is no log of 'nosuch'"]);
    sandbox.run(["query"]).fails(1, &["there is no log"]);
    sandbox.write_log("x", "");
    sandbox
        .run(["query", "nosuch"])
        .fails(1, &["there is no log of 'nosuch'"]);
    sandbox.run(["query", "x"]).prints("");
}

#[test]
fn a_wrong_time_or_size_is_exit_2_never_a_panic() {
    let sandbox = Sandbox::new();
    sandbox.write_log("x", line(MAY_1, "/a"));
    for time in ["zz", "", ">1y", "==1h"] {
        sandbox
            .run(["query", "x", "-t", time])
            .fails(2, &["is not a time filter"]);
        sandbox
            .run(["clean", "x", "-t", time])
            .fails(2, &["is not a time filter"]);
    }
    sandbox
        .run(["query", "x", "-t", ">99999999999d"])
        .fails(2, &["out of range"]);
    sandbox
        .run(["clean", "x", "-s", "zz"])
        .fails(2, &["'zz' is not a size filter"]);
    sandbox
        .run(["clean", "x", "-s", ">-5"])
        .fails(2, &["is not a size filter"]);
    sandbox
        .run(["query", "a/b"])
        .fails(2, &["is not a group name"]);
    sandbox
        .run(["clean", "../x"])
        .fails(2, &["is not a group name"]);
}

#[test]
fn a_reader_that_stops_early_is_no_failure() {
    let sandbox = Sandbox::new();
    sandbox.write_log("x", line(MAY_1, &"a".repeat(1000)).repeat(1000));
    sandbox.run_for_a_glance(["query"]).succeeds_silently();
}

#[test]
fn gaps_and_torn_lines_are_told_on_stderr() {
    let sandbox = Sandbox::new();
    let one = line(MAY_1, "/a");
    let gap = format!(
        "{{\"time\":\"{MAY_2}\",\"event_type\":\"GAP\",\"path\":\"\",\"pid\":0,\"lost\":12,\"cause\":\"queue\",\"since\":\"{MAY_1}\"}}\n"
    );
    sandbox.write_log("x", format!("{one}{gap}{{\"torn"));
    let run = sandbox.run(["query", "x"]);
    run.prints(&format!("{one}{gap}"));
    assert!(run.err.contains("12 events were lost"), "{}", run.err);
}

#[test]
fn clean_says_what_went() {
    let sandbox = Sandbox::new();
    let (one, two, three) = (
        line(MAY_1, "/a/1"),
        line(MAY_2, "/a/2"),
        line(MAY_3, "/a/3"),
    );
    let log = sandbox.write_log("x", format!("{one}{two}{three}"));
    let (before, after) = (one.len() + two.len() + three.len(), three.len());
    sandbox.run(["clean", "x", "-t", ">=2026-05-03", "--dry-run"]).prints(
        "  [to-delete] 2026-05-01 10:00:00 | CREATE | /a/1\n  [to-delete] 2026-05-02 10:00:00 | CREATE | /a/2\n---\n\
         Dry run: 2 entries would be deleted (use --dry-run to preview)\n",
    );
    assert_eq!(
        fs::read_to_string(&log).unwrap(),
        format!("{one}{two}{three}")
    );
    sandbox.run(["clean", "x", "-t", ">2026-05-03"]).prints(&format!(
        "Cleaning {}...\nDeleted 2 entries (time filter: > 2026-05-03 00:00:00)\nLog file size reduced from {before}B to {after}B\n",
        log.display()
    ));
    assert_eq!(fs::read_to_string(&log).unwrap(), three);
    sandbox
        .run(["clean", "x", "-t", ">2026-05-03", "-d"])
        .prints("Dry run: 0 entries match cleanup criteria\n");
    sandbox.run(["clean", "x", "-t", ">2026-05-01", "-s", ">=0"]);
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
}

#[test]
fn clean_without_a_log_has_nothing_to_do() {
    let sandbox = Sandbox::new();
    let dir = sandbox.log_dir();
    sandbox
        .run(["clean", "x"])
        .prints(&format!("Log directory not found: {}\n", dir.display()));
    sandbox.run(["init"]);
    sandbox.run(["clean", "x"]).prints(&format!(
        "Log file not found: {}\n",
        dir.join("x_log.jsonl").display()
    ));
}

#[test]
fn clean_keeps_thirty_days_unless_configured() {
    let sandbox = Sandbox::new();
    let log = sandbox.write_log("x", line("2020-01-01T00:00:00Z", "/a"));
    sandbox.configure("[logging]\nkeep_days = 36500\n");
    let kept = sandbox.run(["clean", "x"]);
    assert!(kept.out.contains("Deleted 0 entries"), "{kept:?}");
    sandbox.configure("");
    sandbox.run(["clean", "x"]);
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
}

#[test]
fn escapes_in_a_path_do_not_reach_the_terminal() {
    let sandbox = Sandbox::new();
    sandbox.write_log("x", line(MAY_1, "/a\\u001b[2J"));
    let shown = sandbox.run(["clean", "x", "-t", ">2026-05-03", "-d"]);
    assert!(shown.out.contains("| /a\\u{1b}[2J\n"), "{shown:?}");
}
