//! why on logs made by hand.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::sandbox::Sandbox;

/// One line: the second, the type, the path, the other side of a rename, the chain.
fn line(second: u32, kind: &str, path: &str, other: &str, chain: &str) -> String {
    let other = match kind {
        _ if other.is_empty() => String::new(),
        "MOVED_TO" => format!(",\"from\":\"{other}\""),
        _ => format!(",\"to\":\"{other}\""),
    };
    format!(
        "{{\"time\":\"2026-05-01T10:00:{second:02}.000000000Z\",\"event_type\":\"{kind}\",\"path\":\"{path}\",\"pid\":7,\
         \"cmd\":\"ed\",\"user\":\"root\",\"file_size\":0,\"ppid\":1,\"tgid\":7,\"chain\":\"{chain}\"{other}}}\n"
    )
}

fn simple(second: u32, kind: &str, path: &str) -> String {
    line(second, kind, path, "", "")
}

fn rename(second: u32, from: &str, to: &str) -> String {
    line(second, "MOVED_FROM", from, to, "") + &line(second, "MOVED_TO", to, from, "")
}

#[test]
fn a_file_is_followed_through_the_saves_of_editors() {
    let sandbox = Sandbox::new();
    let sed = [
        simple(1, "CREATE", "/d/f"),
        simple(2, "CREATE", "/d/sedXYZ"),
        rename(2, "/d/sedXYZ", "/d/f"),
        simple(2, "DELETE_SELF", "/d/f"),
    ]
    .concat();
    let vim = [
        rename(4, "/d/f", "/d/f~"),
        simple(4, "CREATE", "/d/f"),
        simple(4, "CLOSE_WRITE", "/d/f"),
        simple(4, "DELETE", "/d/f~"),
    ]
    .concat();
    let others = simple(3, "CREATE", "/d/ff") + &simple(3, "CREATE", "/d/f/x");
    let later = simple(5, "CREATE", "/d/sedXYZ") + &simple(5, "CREATE", "/d/f~");
    let log = [sed.as_str(), &others, &vim, &later].concat();
    sandbox.write_log("_global", &log);
    sandbox.run(["why", "/d/f"]).prints(&format!("{sed}{vim}"));
    sandbox
        .run(["why", "/d/./f/", "--json", "-t", ">=2026-05-01 10:00:03"])
        .prints(&vim);
    sandbox.run(["why", "-r", "/d"]).prints(&log);
}

#[test]
fn an_event_of_several_logs_is_told_once_with_its_ancestry() {
    let sandbox = Sandbox::new();
    let chain = "7|ed|root;1|init|root";
    let with = |kind, path| line(1, kind, path, "", chain);
    sandbox.write_log(
        "_global",
        simple(1, "CREATE", "/d/f") + &simple(1, "ATTRIB", "/d/f") + &simple(2, "DELETE", "/d/f"),
    );
    sandbox.write_log("ed", with("CREATE", "/d/f") + &with("ATTRIB", "/d/f"));
    let gap = "{\"time\":\"2026-05-01T10:00:01.500000000Z\",\"event_type\":\"GAP\",\"path\":\"\",\"lost\":3,\"cause\":\"x\"}\n";
    sandbox.write_log("gaps", gap);
    let run = sandbox.run(["why", "/d/f"]);
    let told = with("CREATE", "/d/f") + &with("ATTRIB", "/d/f") + gap;
    run.prints(&(told + &simple(2, "DELETE", "/d/f")));
    assert!(run.err.contains("3 events were lost"), "{run:?}");
}

#[test]
fn a_directory_moves_what_is_in_it_and_odd_bytes_are_names() {
    let sandbox = Sandbox::new();
    let odd = "{\"time\":\"2026-05-01T10:00:01Z\",\"event_type\":\"CREATE\",\"path\":\"/a/\u{fffd}\",\"path_raw\":\"2f612fff\"}\n";
    let log = format!(
        "{odd}{}{}",
        rename(2, "/a", "/b"),
        simple(3, "ATTRIB", "/b/\\n")
    );
    sandbox.write_log("x", &log);
    let path = OsStr::from_bytes(b"/b/\xff");
    let told = format!("{odd}{}", rename(2, "/a", "/b"));
    sandbox.run(["why".as_ref(), path]).prints(&told);
    sandbox.run(["why", "/b/\n"]).prints(&log[odd.len()..]);
}

#[test]
fn of_a_path_that_no_log_knows_that_is_said() {
    let sandbox = Sandbox::new();
    sandbox.run(["why", "/d/f"]).fails(1, &["there is no log"]);
    sandbox.write_log("x", simple(1, "CREATE", "/d/ff"));
    sandbox.run(["why", "/d/f"]).fails(
        1,
        &[
            "fsmon: no log tells anything of '/d/f'\n",
            "fsmon monitored",
        ],
    );
    sandbox
        .run(["why", "/d/ff", "-t", "nonsense"])
        .fails(2, &["is not a time filter"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let sandbox = Sandbox::new();
    sandbox.write_log("x", simple(1, "ATTRIB", "/d/f").repeat(10_000));
    sandbox
        .run_for_a_glance(["why", "/d/f"])
        .succeeds_silently();
}
