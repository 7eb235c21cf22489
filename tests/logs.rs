//! The writer of logs, `query` and `clean` against plain models, and against each other at full
//! speed: no line lost, none twice, none in halves.
//!
//! The tests of a full disk mount small filesystems and need root. Without it they are listed as
//! ignored; with `FSMON_TEST_ROOT=require` that is a failure.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and this is a program of its own"
)]

#[path = "logs/cut.rs"]
mod cut;
#[path = "logs/disk.rs"]
mod disk;
#[path = "logs/live.rs"]
mod live;
#[path = "logs/model.rs"]
mod model;
#[path = "logs/reference.rs"]
mod reference;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use disk::Mount;
use fsmon::event::{Attribution, EventType, FileEvent, WallTime};
use fsmon::log::append::{Appender, AppenderConfig};
use fsmon::log::line::encode_event;
use libtest_mimic::{Arguments, Trial};
use tempfile::TempDir;

fn main() -> ExitCode {
    if let Some(log) = env::var_os(cut::RECORDER) {
        cut::be_recorder(Path::new(&log));
        return ExitCode::SUCCESS;
    }
    let mut trials = vec![
        test("any_history_leaves_what_the_model_says", model::any_history),
        test(
            "rotation_by_rename_at_full_speed_loses_nothing",
            live::rotation,
        ),
        test("killed_cleans_lose_nothing", live::killed_cleans),
        test(
            "a_query_of_a_growing_log_is_a_beginning_of_it",
            live::growing,
        ),
    ];
    let is_root = rustix::process::geteuid().is_root();
    let required = env::var_os("FSMON_TEST_ROOT").is_some_and(|value| value == "require");
    let on_disks: [(&str, fn()); 14] = [
        (
            "any_history_on_ext4_leaves_what_the_model_says",
            model::any_history_on_ext4,
        ),
        (
            "full_tmpfs_keeps_whole_lines_and_tells_of_the_rest",
            disk::full_tmpfs,
        ),
        (
            "full_ext4_keeps_whole_lines_and_tells_of_the_rest",
            disk::full_ext4,
        ),
        ("read_only_disk_is_waited_for", disk::read_only),
        ("cut_in_place_on_ext4_leaves_the_file_the_same", || {
            cut::same_file(&Mount::of("ext4"))
        }),
        ("cut_in_place_on_xfs_leaves_the_file_the_same", || {
            cut::same_file(&Mount::of("xfs"))
        }),
        ("cut_in_place_on_ext4_keeps_what_a_copy_keeps", || {
            cut::any_log(&Mount::of("ext4"))
        }),
        ("cut_in_place_on_xfs_keeps_what_a_copy_keeps", || {
            cut::any_log(&Mount::of("xfs"))
        }),
        ("a_query_goes_on_when_its_log_is_cut_on_ext4", || {
            cut::query_meanwhile(&Mount::of("ext4"))
        }),
        ("a_query_goes_on_when_its_log_is_cut_on_xfs", || {
            cut::query_meanwhile(&Mount::of("xfs"))
        }),
        ("cleans_in_a_flood_on_ext4_lose_nothing", || {
            cut::flood(&Mount::of("ext4"))
        }),
        ("cleans_in_a_flood_on_xfs_lose_nothing", || {
            cut::flood(&Mount::of("xfs"))
        }),
        ("cleans_in_a_flood_on_btrfs_lose_nothing", || {
            cut::flood(&Mount::of("btrfs"))
        }),
        ("cleans_in_a_flood_on_tmpfs_lose_nothing", || {
            cut::flood(&Mount::of("tmpfs"))
        }),
    ];
    for (name, body) in on_disks {
        let trial = Trial::test(name, move || {
            if !is_root {
                return Err("needs root".into());
            }
            body();
            Ok(())
        });
        trials.push(
            trial
                .with_kind(if is_root { "" } else { "needs root" })
                .with_ignored_flag(!is_root && !required),
        );
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn test(name: &str, body: fn()) -> Trial {
    Trial::test(name, move || {
        body();
        Ok(())
    })
}

/// A directory in memory where there is one: these tests write and sync a lot.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn appender(dir: &Path, ceiling_bytes: usize) -> Appender {
    Appender::new(AppenderConfig {
        dir: dir.to_owned(),
        owner: None,
        ceiling_bytes,
    })
}

/// An event of which the path says all.
fn event(time: i64, path: &[u8]) -> FileEvent {
    FileEvent {
        time: WallTime(time),
        kind: EventType::Create,
        path: path.to_vec(),
        pid: 42,
        cmd: "cc1".into(),
        user: "nobody".into(),
        file_size: 7,
        ppid: 41,
        tgid: 42,
        chain: "42|cc1|nobody;41|make|nobody;1|init|root".into(),
        exe: None,
        other_path: None,
        attribution: Attribution::Exact,
        is_dir: false,
        is_adrift: false,
        job: None,
        inferred: None,
    }
}

fn line(time: i64, path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_event(&event(time, path), &mut bytes);
    bytes
}
