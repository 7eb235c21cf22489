//! What rfanotify is used for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::place::{Looking, Place, exe_of, word};
use crate::lines::MARKER;
use crate::wait::{PATIENCE, halt, until};

/// Openings of a file that is read and of one that is written, and of one through another mount.
fn see_openings(place: &Place, looking: &mut Looking, bound: &Path, through_other: usize) {
    place.act("rm -rf www/new www/g; mkdir www/new; cat www/f; echo y > www/g");
    fs::read(bound.join("www/f")).unwrap();
    let events = looking.events();
    let of = |cmd: &str, kind: &str, name: &str| {
        // Of the names that a file has through several mounts one is told.
        let names = [place.root.join(name), bound.join(name)];
        let is_it = |line: &&Value| {
            let is_kind = line["cmd"] == cmd && line["event_type"] == kind;
            is_kind && names.contains(&PathBuf::from(word(line, "path")))
        };
        events.iter().filter(is_it).count()
    };
    assert_eq!(of("cat", "OPEN", "www/f"), 1, "{events:?}");
    assert_eq!(of("sh", "OPEN", "www/g"), 1, "{events:?}");
    assert_eq!(of("sh", "CLOSE_WRITE", "www/g"), 1, "{events:?}");
    let own = events
        .iter()
        .filter(|line| line["pid"] == std::process::id());
    assert_eq!(own.count(), through_other, "{events:?}");
    assert_eq!(events.len(), 3 + through_other, "{events:?}");
    let cat = events.iter().find(|line| line["cmd"] == "cat").unwrap();
    assert_eq!(word(cat, "exe"), exe_of("/bin/cat"));
}

pub(super) fn opens() {
    let place = Place::new("opens");
    let bound = place.bind(&place.root);
    fs::write(place.root.join("www/f"), "x").unwrap();
    let command = place.command();
    // Without a path it is where one is.
    let without = command.replace(&format!(" {}", place.root.display()), "");
    for command in [command, without] {
        let mut looking = place.look(&command, &place.root);
        see_openings(&place, &mut looking, &bound, 1);
        looking.end_well();
    }
    let without = format!("{} -x f", place.command());
    let mut looking = place.look(&without, &place.root);
    place.act("cat www/f; true > www/g");
    let told = looking.told();
    let is_g = |(_, path): &(String, String)| path.ends_with("/www/g");
    assert!(told.len() == 2 && told.iter().all(is_g), "{told:?}");
    looking.end_well();
}

pub(super) fn words() {
    let place = Place::new("words");
    fs::write(place.root.join("www/f"), "x").unwrap();
    let mut looking = place.look(&place.command(), &place.root);
    place.act("cat www/f; true > www/g");
    looking.settle();
    let shown = looking.text();
    let shown: Vec<&str> = shown
        .lines()
        .filter(|line| !line.contains(MARKER))
        .collect();
    let line =
        |name: &str, exe: &str| format!("File {}/{name} Exe {}", place.root.display(), exe_of(exe));
    let wanted = [
        line("www/f", "/bin/cat"),
        line("www/g", "/bin/sh"),
        line("www/g", "/bin/sh"),
    ];
    assert_eq!(shown, wanted);
    // With jq in the same group the shell tells jq's end.
    looking.end();
}

pub(super) fn opens_mount() {
    let place = Place::new("opens-mount");
    let bound = place.bind(&place.root);
    fs::write(place.root.join("www/f"), "x").unwrap();
    let mut looking = place.look(&place.command(), &place.root);
    see_openings(&place, &mut looking, &bound, 0);
    looking.end_well();
}

pub(super) fn gate() {
    let place = Place::new("gate");
    let bound = place.bind(&place.root);
    fs::write(place.root.join("www/f"), "x").unwrap();
    let mut looking = place.look(&place.command(), &place.root);
    see_openings(&place, &mut looking, &bound, 1);
    // Stopped, it holds openings up; ended, it lets them go.
    halt(looking.pid());
    let mut cat = Command::new("cat")
        .arg(place.root.join("www/f"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until(PATIENCE, || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", cat.id())).unwrap();
        stat.contains("(cat) D").then_some(())
    })
    .expect("it waits");
    drop(looking);
    let status = until(PATIENCE, || cat.try_wait().unwrap());
    assert!(status.expect("it goes on").success());
}
