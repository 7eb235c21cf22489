//! What happens while no daemon runs is found out afterwards: just that, once, and with times it lies between.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::Suite;
use crate::alerts::{alerts_of, write_policy};
use crate::flood::{self, now};
use crate::ground::{Fs, Ground};
use crate::lines::Line;
use crate::recorder::{Home, Recorder, tell};
use crate::wait::{PATIENCE, until};
use crate::workers::together;

pub(crate) fn list(suite: &mut Suite) {
    for kind in [Fs::Tmpfs, Fs::Ext4, Fs::Btrfs] {
        suite.on(kind, "changed_while_stopped", stopped);
        suite.on(kind, "changed_after_kill_9", killed);
    }
    suite.one("nothing_changed_while_stopped", nothing);
    suite.one("changed_while_stopped_for_a_group", group);
    suite.one("renamed_while_stopped", names);
    suite.one("exchanged_and_stopped", exchanged_before);
    suite.one("changed_while_stopped_without_a_log", without_a_log);
    suite.one("too_many_objects_for_a_manifest", huge);
    suite.one("lost_in_a_gap_and_found_out", gap);
    suite.one("canaries_touched_while_stopped", canaries);
}

struct Scene {
    home: Home,
    root: PathBuf,
    _ground: Ground,
}

fn scene(kind: Fs, settings: &str, group: &str, words: &[&str]) -> Scene {
    let ground = Ground::new();
    let root = ground.mount(kind).join("tree");
    fs::create_dir(&root).unwrap();
    let home = Home::new(&ground);
    home.configure(settings);
    home.watch(group, &root, words);
    Scene {
        home,
        root,
        _ground: ground,
    }
}

impl Scene {
    fn put(&self, name: impl AsRef<OsStr>, text: &str) -> PathBuf {
        let path = self.root.join(Path::new(name.as_ref()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts, and returns when the manifest of this run is there.
    fn start(&self) -> Recorder {
        self.start_with(&[])
    }

    fn start_with(&self, flags: &[&str]) -> Recorder {
        let before = self.inode();
        let recorder = self.home.start_with(flags);
        let made = until(PATIENCE, || (self.inode() != before).then_some(()));
        assert!(made.is_some(), "no manifest\n{}", recorder.said());
        recorder
    }

    /// Which file the manifest is, and when it was written.
    fn inode(&self) -> Option<std::time::SystemTime> {
        let manifest = fs::metadata(self.home.log_dir().join("manifest")).ok()?;
        assert_eq!(manifest.permissions().mode() & 0o777, 0o600);
        manifest.modified().ok()
    }

    /// Of each comparison, how many changes it found and whether it had all that it goes by.
    fn compared(&self) -> Vec<(usize, bool)> {
        let lines = self.home.journal_of("INFERRED").into_iter();
        let told = lines.map(|line| {
            assert_eq!(line["path"], self.root.to_str().unwrap());
            assert!(line["since"].as_str() <= line["until"].as_str(), "{line}");
            let count = line["count"].as_u64().unwrap();
            (count as usize, line["whole"].as_bool().unwrap())
        });
        told.collect()
    }

    fn verified(&self) -> String {
        String::from_utf8(self.home.run(&["verify"]).stdout).unwrap()
    }

    /// What was found out, in the order of the log: type, path below the root, and the other side.
    fn inferred(&self, group: &str) -> Vec<String> {
        let lines = self.home.log(group).into_iter();
        let told = lines.filter(|line| line.is_inferred).map(|line| {
            assert_eq!((line.pid, line.attribution.as_str()), (0, "unknown"));
            assert!(line.since.as_ref().unwrap() <= &line.time, "{line:?}");
            let name = |path: &[u8]| {
                let root = self.root.as_os_str().as_bytes();
                path.strip_prefix(root).unwrap().escape_ascii().to_string()
            };
            let size = if line.is_dir {
                String::new()
            } else {
                format!(" {}", line.size)
            };
            let other = line
                .other
                .as_ref()
                .map_or_else(String::new, |other| format!(" <-> {}", name(other)));
            format!("{} {}{other}{size}", line.kind, name(&line.path))
        });
        told.collect()
    }
}

fn since(lines: &[Line]) -> Vec<String> {
    let inferred = lines.iter().filter(|line| line.is_inferred);
    inferred.filter_map(|line| line.since.clone()).collect()
}

fn stopped(kind: Fs) {
    let scene = scene(kind, "", "_global", &["-r", "--exclude", "*.tmp"]);
    let bad = OsStr::from_bytes(b"bad\xff");
    for name in [
        "keep", "grow", "mode", "gone", "old/a", "old/b/c", "dead/x", "swap",
    ] {
        scene.put(name, "1234");
    }
    let mut recorder = scene.start();
    scene.put("recorded", "12");
    recorder.settle("_global", &scene.root);
    recorder.stop();
    let stop = now();
    assert_eq!(scene.inferred("_global"), Vec::<String>::new());

    scene.put("grow", "123456789");
    fs::set_permissions(scene.root.join("mode"), Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(scene.root.join("gone")).unwrap();
    fs::rename(scene.root.join("old"), scene.root.join("new")).unwrap();
    scene.put("new/b/c", "12345");
    fs::remove_dir_all(scene.root.join("dead")).unwrap();
    scene.put(bad, "1");
    scene.put("made/deep/er", "12");
    scene.put("skipped.tmp", "1");
    scene.put("fresh", "123456");
    fs::rename(scene.root.join("fresh"), scene.root.join("swap")).unwrap();

    let mut recorder = scene.start();
    recorder.settle("_global", &scene.root);
    recorder.stop();
    let expected = [
        "DELETE /swap 4",
        "CREATE /bad\\xff 1",
        "CREATE /made",
        "CREATE /made/deep",
        "CREATE /made/deep/er 2",
        "MOVED_FROM /old <-> /new",
        "MOVED_TO /new <-> /old",
        "CREATE /swap 6",
        "CLOSE_WRITE /grow 9",
        "ATTRIB /mode 4",
        "CLOSE_WRITE /new/b/c 5",
        "DELETE /gone 4",
        "DELETE /dead/x 4",
        "DELETE /dead",
    ];
    assert_eq!(scene.inferred("_global"), expected);
    let lines = scene.home.log("_global");
    assert!(since(&lines).iter().all(|since| *since <= stop), "{stop}");
    let ends = scene.home.journal_of("STOP");
    assert_eq!(since(&lines)[0], ends[0]["time"].as_str().unwrap());
    // The two sides of a rename are one change.
    assert_eq!(scene.compared(), [(expected.len() - 1, true)]);

    // The next start finds nothing more.
    scene.start().stop();
    assert_eq!(scene.inferred("_global").len(), expected.len());
    assert_eq!(scene.compared()[1], (0, true));
    let text = scene.verified();
    assert!(text.contains("; 13 changes found out"), "{text}");
    assert!(text.contains("nothing had changed"), "{text}");
    let done = scene
        .home
        .run(&["why", scene.root.join("grow").to_str().unwrap()]);
    assert!(done.status.success(), "{}", tell(&done));
}

/// The manifest is older than what was recorded before the end.
fn killed(kind: Fs) {
    let scene = scene(kind, "", "_global", &["-r"]);
    for name in ["a", "b", "dir/x", "dir/y", "later"] {
        scene.put(name, "1234");
    }
    let mut recorder = scene.start();
    scene.put("a", "12345");
    scene.put("made", "1");
    fs::remove_file(scene.root.join("b")).unwrap();
    fs::rename(scene.root.join("dir"), scene.root.join("moved")).unwrap();
    scene.put("moved/x", "123");
    scene.put("moved/new", "123");
    recorder.settle("_global", &scene.root);
    recorder.kill();
    let mut recorder = scene.start();
    recorder.settle("_global", &scene.root);
    assert_eq!(scene.inferred("_global"), Vec::<String>::new());

    // Once more, and now something happens as well.
    fs::rename(scene.root.join("moved"), scene.root.join("again")).unwrap();
    scene.put("second", "1");
    recorder.settle("_global", &scene.root);
    recorder.kill();
    scene.put("later", "12345678");
    fs::remove_file(scene.root.join("again/y")).unwrap();
    fs::rename(scene.root.join("again/x"), scene.root.join("x")).unwrap();
    scene.put("a", "1234567");
    let mut recorder = scene.start();
    scene.put("after", "1");
    recorder.settle("_global", &scene.root);
    recorder.stop();
    let expected = [
        "MOVED_FROM /again/x <-> /x 3",
        "MOVED_TO /x <-> /again/x 3",
        "CLOSE_WRITE /a 7",
        "CLOSE_WRITE /later 8",
        "DELETE /again/y 4",
    ];
    assert_eq!(scene.inferred("_global"), expected);
    // The downtime is a hole still, of which more is known.
    let text = scene.verified();
    assert!(text.contains("changes found out afterwards"), "{text}");
    // The end of the marker of the settling may be one of them.
    let (count, is_whole) = scene.compared()[1];
    assert!((4..=5).contains(&count) && is_whole, "{count}");
}

fn nothing() {
    let scene = scene(Fs::Tmpfs, "", "_global", &["-r", "-t", "all"]);
    scene.put("a/b/c", "1234");
    for _ in 0..3 {
        let mut recorder = scene.start();
        scene.put("a/d", "1234");
        fs::rename(scene.root.join("a"), scene.root.join("e")).unwrap();
        recorder.settle("_global", &scene.root);
        fs::rename(scene.root.join("e"), scene.root.join("a")).unwrap();
        recorder.settle("_global", &scene.root);
        recorder.stop();
    }
    assert_eq!(scene.inferred("_global"), Vec::<String>::new());
    assert_eq!(scene.compared(), [(0, true), (0, true)]);
    // A file that cannot be read is no manifest.
    fs::write(scene.home.log_dir().join("manifest"), "{}\n").unwrap();
    scene.put("a/d", "12345");
    let said = scene.start().stop();
    assert!(
        said.iter().any(|line| line.contains("'manifest'")),
        "{said:?}"
    );
    assert_eq!(scene.inferred("_global"), Vec::<String>::new());
}

/// What others did while the daemon ran is not in the log of a group, and is not told afterwards.
fn group() {
    let scene = scene(Fs::Tmpfs, "", "nobody-there", &["-r"]);
    for name in ["a", "b", "c", "dir/x"] {
        scene.put(name, "1234");
    }
    let recorder = scene.start();
    scene.put("a", "12345");
    scene.put("others", "1");
    fs::remove_file(scene.root.join("dir/x")).unwrap();
    recorder.stop();
    scene.put("b", "123456");
    scene.put("new", "1");
    fs::remove_file(scene.root.join("c")).unwrap();
    scene.start().stop();
    assert_eq!(
        scene.inferred("nobody-there"),
        ["CREATE /new 1", "CLOSE_WRITE /b 6", "DELETE /c 4"]
    );
}

/// Names that were exchanged or handed on are renames, in an order in which they can have been done.
fn names() {
    let scene = scene(Fs::Tmpfs, "", "_global", &["-r"]);
    for name in ["one/a", "one/b", "two/b", "log", "log.1", "log.2"] {
        scene.put(name, name);
    }
    let recorder = scene.start();
    recorder.stop();
    let at = |name: &str| scene.root.join(name);
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(
        rustix::fs::CWD,
        at("one"),
        rustix::fs::CWD,
        at("two"),
        flags,
    )
    .unwrap();
    fs::rename(at("log.1"), at("log.2")).unwrap();
    fs::rename(at("log"), at("log.1")).unwrap();
    scene.put("log", "begun again");
    scene.put("two/b", "written");
    scene.start().stop();
    assert_eq!(
        scene.inferred("_global"),
        [
            "DELETE /log.2 5",
            "MOVED_FROM /log.1 <-> /log.2 5",
            "MOVED_TO /log.2 <-> /log.1 5",
            "MOVED_FROM /log <-> /log.1 3",
            "MOVED_TO /log.1 <-> /log 3",
            "CREATE /log 11",
            "MOVED_FROM /one <-> /two",
            "MOVED_TO /two <-> /one",
            "MOVED_FROM /two <-> /one",
            "MOVED_TO /one <-> /two",
            "CLOSE_WRITE /two/b 7",
        ]
    );
    scene.start().stop();
    let counts: Vec<usize> = scene.compared().iter().map(|(count, _)| *count).collect();
    assert_eq!(counts, [7, 0]);
}

/// What is exchanged while it is recorded is not taken for something else later.
fn exchanged_before() {
    let scene = scene(Fs::Tmpfs, "", "_global", &["-r"]);
    for name in ["one/a", "two/b", "x", "y"] {
        scene.put(name, name);
    }
    let mut recorder = scene.start();
    let at = |name: &str| scene.root.join(name);
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    for (one, other) in [("one", "two"), ("x", "y")] {
        rustix::fs::renameat_with(rustix::fs::CWD, at(one), rustix::fs::CWD, at(other), flags)
            .unwrap();
    }
    scene.put("made", "1");
    recorder.settle("_global", &scene.root);
    recorder.kill();
    scene.put("made", "12");
    scene.start().stop();
    assert_eq!(scene.inferred("_global"), ["CLOSE_WRITE /made 2"]);
}

/// Logs of which somebody took a part away do not tell any more which names there were.
fn without_a_log() {
    let scene = scene(Fs::Tmpfs, "", "_global", &["-r"]);
    for name in ["gone", "grown"] {
        scene.put(name, "1234");
    }
    let mut recorder = scene.start();
    scene.put("recorded", "1");
    recorder.settle("_global", &scene.root);
    fs::rename(
        scene.home.log_path("_global"),
        scene.home.log_dir().join("kept"),
    )
    .unwrap();
    scene.put("more", "1");
    recorder.settle("_global", &scene.root);
    recorder.kill();
    fs::remove_file(scene.root.join("gone")).unwrap();
    scene.put("grown", "12345678");
    scene.start().stop();
    let mut told = scene.inferred("_global");
    // It was made within one tick of the clock that files have their times from, before recording ended.
    told.retain(|line| line != "CREATE /recorded 1");
    assert_eq!(told, ["CLOSE_WRITE /grown 8"]);
    assert!(scene.compared().iter().all(|(_, is_whole)| !is_whole));
    let text = scene.verified();
    assert!(text.contains("as far as could be told"), "{text}");
}

fn huge() {
    let scene = scene(Fs::Tmpfs, "[capture]\nmanifest = 5", "_global", &["-r"]);
    let small = scene.root.parent().unwrap().join("small");
    fs::create_dir(&small).unwrap();
    scene.home.watch("_global", &small, &["-r"]);
    for name in ["1", "2", "3", "4", "5"] {
        scene.put(name, "");
    }
    let said = scene.start().stop();
    let about = said
        .iter()
        .filter(|line| line.contains("more than 4 of the 5 objects"));
    assert_eq!(about.count(), 1, "{said:?}");
    scene.put("6", "");
    fs::write(small.join("told"), "").unwrap();
    scene.start().stop();
    let lines = scene.home.log("_global");
    let told = lines.iter().filter(|line| line.is_inferred);
    let told: Vec<&[u8]> = told.map(|line| &line.path[..]).collect();
    assert_eq!(told, [small.join("told").as_os_str().as_bytes()]);
}

/// A canary alerts on what was done to it while nobody looked, once, whatever logs tell of it.
fn canaries() {
    let scene = scene(Fs::Tmpfs, "", "_global", &["-r"]);
    scene.home.watch("nobody-there", &scene.root, &["-r"]);
    for name in ["canary/1", "canary/2", "canary/3", "canary/4", "other"] {
        scene.put(name, "1234");
    }
    let text = "[[rule]]\nname = \"canaries\"\nkind = \"canary\"\npaths = \"@/canary/*\"\n";
    let policy = write_policy(&scene.home, &scene.root, text);
    let flags = ["--policy", policy.to_str().unwrap()];
    scene.start_with(&flags).stop();
    scene.put("canary/2", "12345");
    scene.put("other", "12345");
    fs::remove_file(scene.root.join("canary/1")).unwrap();
    fs::rename(scene.root.join("canary/3"), scene.root.join("away")).unwrap();
    let mut recorder = scene.start_with(&flags);
    recorder.settle("_global", &scene.root);
    let mut told: Vec<(String, String)> = alerts_of(&scene.home, "canaries")
        .iter()
        .map(|alert| {
            assert_eq!(alert["inferred"], true);
            assert_eq!(alert["attribution"], "unknown");
            let text = |key: &str| alert[key].as_str().unwrap().to_owned();
            (
                text("path").rsplit('/').next().unwrap().to_owned(),
                text("reason"),
            )
        })
        .collect();
    told.sort();
    let told: Vec<(&str, &str)> = told.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        told,
        [
            ("1", "canary deleted"),
            ("2", "canary modified"),
            ("3", "canary renamed")
        ]
    );
    recorder.stop();
    // It is found out once.
    scene.start_with(&flags).stop();
    assert_eq!(alerts_of(&scene.home, "canaries").len(), 3);
}

fn gap() {
    let scene = scene(
        Fs::Tmpfs,
        "[capture]\nceiling = \"1MB\"",
        "_global",
        &["-r"],
    );
    for name in ["gone", "old/x", "busy/y"] {
        scene.put(name, "1234");
    }
    let mut recorder = scene.start();
    recorder.halt();
    together(flood::workers(&scene.root.join("busy"), 20_000));
    fs::remove_file(scene.root.join("gone")).unwrap();
    fs::rename(scene.root.join("old"), scene.root.join("new")).unwrap();
    scene.put("made/here", "12");
    recorder.signal(Signal::CONT);
    recorder.wait_for("_global", "\"event_type\":\"GAP\"");
    recorder.wait_for("_global", "\"inferred\":true");
    let noted = until(PATIENCE, || {
        (!scene.home.journal_of("INFERRED").is_empty()).then_some(())
    });
    assert!(noted.is_some());
    recorder.stop();
    let told = scene.inferred("_global");
    for line in [
        "DELETE /gone 4",
        "MOVED_TO /new <-> /old",
        "CREATE /made",
        "CREATE /made/here 2",
    ] {
        assert!(told.iter().any(|told| told == line), "{line}: {told:#?}");
    }
    let lines = scene.home.log("_global");
    let gaps = lines.iter().filter(|line| line.kind == "GAP");
    let first = gaps.filter_map(|gap| gap.since.clone()).min().unwrap();
    assert!(since(&lines).iter().all(|since| *since == first));
    // Nothing is told twice.
    for line in &told {
        assert_eq!(
            told.iter().filter(|told| *told == line).count(),
            1,
            "{line}"
        );
    }
}
