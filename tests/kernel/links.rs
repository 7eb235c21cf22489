//! Files with several names, of which the kernel says less than of others while nobody reads: what is added to an
//! unread record keeps the place of that record.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use rustix::process::Signal;

use crate::Suite;
use crate::ground::{Fs, Ground};
use crate::lines::Line;
use crate::recorder::Home;

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::MAIN {
        suite.on(kind, "names_come_and_go_unread", come_and_go);
        suite.on(
            kind,
            "written_by_a_name_that_is_gone",
            by_a_name_that_is_gone,
        );
    }
}

/// What the log says of names and ends below `dir`, in order.
fn told(lines: &[Line], dir: &Path) -> Vec<String> {
    const KINDS: [&str; 5] = ["CREATE", "DELETE", "MOVED_FROM", "MOVED_TO", "DELETE_SELF"];
    let below = format!("{}/", dir.display());
    let about = lines.iter().filter(|line| KINDS.contains(&line.kind));
    about
        .filter_map(|line| {
            let path = String::from_utf8_lossy(&line.path).into_owned();
            let name = path.strip_prefix(&below)?;
            Some(format!("{} {name}", line.kind))
        })
        .collect()
}

fn come_and_go(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    let [beside, object, over] = ["beside", "object", "over"].map(|name| root.join(name));
    for dir in [&beside, &object, &over] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(beside.join("stays"), "").unwrap();
    fs::write(over.join("name"), "old").unwrap();
    fs::write(over.join("new"), "new").unwrap();
    recorder.settle("_global", &root);

    recorder.halt();
    let link = |dir: &Path, from, to| fs::hard_link(dir.join(from), dir.join(to)).unwrap();
    let unlink = |dir: &Path, name| fs::remove_file(dir.join(name)).unwrap();
    link(&beside, "stays", "passing");
    unlink(&beside, "passing");
    link(&beside, "stays", "second");
    // As git writes its objects.
    fs::write(object.join("tmp"), "text").unwrap();
    link(&object, "tmp", "final");
    unlink(&object, "tmp");
    link(&over, "name", "passing");
    unlink(&over, "passing");
    fs::rename(over.join("new"), over.join("name")).unwrap();
    recorder.signal(Signal::CONT);
    recorder.settle("_global", &root);
    recorder.stop();

    let lines = home.log("_global");
    let all: Vec<_> = lines.iter().map(Line::show).collect();
    let all = all.join("\n");
    assert_eq!(
        told(&lines, &beside),
        [
            "CREATE stays",
            "CREATE passing",
            "DELETE passing",
            "CREATE second"
        ],
        "{all}"
    );
    assert_eq!(
        told(&lines, &object),
        ["CREATE tmp", "CREATE final", "DELETE tmp"],
        "{all}"
    );
    assert_eq!(
        told(&lines, &over),
        [
            "CREATE name",
            "CREATE new",
            "CREATE passing",
            "DELETE passing",
            "MOVED_FROM new",
            "MOVED_TO name",
            "DELETE_SELF name",
        ],
        "{all}"
    );
}

fn by_a_name_that_is_gone(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    let path = |name: &str| root.join(name);
    fs::write(path("first"), "").unwrap();
    fs::hard_link(path("first"), path("second")).unwrap();
    let mut held = OpenOptions::new().append(true).open(path("first")).unwrap();
    fs::remove_file(path("first")).unwrap();
    recorder.settle("_global", &root);
    held.write_all(b"text").unwrap();
    drop(held);
    recorder.settle("_global", &root);
    // The change of the link count carries no name.
    fs::hard_link(path("second"), path("third")).unwrap();
    recorder.settle("_global", &root);
    recorder.stop();

    let lines = home.log("_global");
    let at = |name: &str| path(name).to_string_lossy().into_owned();
    let told = lines
        .iter()
        .map(|line| (line.kind, String::from_utf8_lossy(&line.path).into_owned()));
    let gone = told
        .clone()
        .position(|line| line == ("DELETE", at("first")));
    let behind: Vec<_> = told.skip(gone.unwrap() + 1).collect();
    let all: Vec<_> = lines.iter().map(Line::show).collect();
    for expected in [
        ("CLOSE_WRITE", at("first")),
        ("ATTRIB", at("second")),
        ("CREATE", at("third")),
    ] {
        let count = behind.iter().filter(|line| **line == expected).count();
        assert_eq!(count, 1, "{expected:?}; told is:\n{}", all.join("\n"));
    }
    assert!(
        !behind.contains(&("ATTRIB", at("first"))),
        "{}",
        all.join("\n")
    );
}
