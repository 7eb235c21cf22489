//! Names that nobody expects: the daemon survives, each line is valid JSON, the bytes come back exactly.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat, unlinkat};

use crate::Suite;
use crate::actor::{Actor, os};
use crate::ground::{Fs, Ground};
use crate::recorder::Home;
use crate::truth::Report;

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::ALL {
        suite.on(kind, "nasty_names", names);
        suite.on(kind, "nasty_depth", depth);
    }
}

fn nasty_names() -> Vec<Vec<u8>> {
    let texts = [
        "new\nline",
        "quo\"te",
        "back\\slash",
        "\\\"",
        "tab\there",
        "del\u{7f}ete",
        "c1\u{80}\u{85}\u{9b}31m",
        "bell\u{7}",
        "esc\u{1b}[31m",
        "cr\rover",
        "gone (deleted)",
        " (deleted)",
        "-rf",
        "--help",
        " ",
        "  lead and trail ",
        "emoji\u{1f600}",
        "rtl\u{202e}txt.exe",
        "marks\u{200f}\u{200e}\u{feff}",
        "line\u{2028}separator",
        "\u{fffd}",
        "\\u0041",
        "null\\0",
        "{\"time\":1}",
        "a;b|c",
        "...",
        ".hidden",
        "%s%n",
        "$(id)",
        "'single'",
        "`back`",
        "*",
        "?",
        "[x]",
        "!not",
        "#hash",
        "~",
        "\u{1}\u{2}\u{1f}",
    ];
    let mut names: Vec<Vec<u8>> = texts
        .into_iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    names.extend(
        [
            &b"\xff"[..],
            b"bad\xffmiddle",
            b"cut\xe2\x82",
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"latin\xe9",
            b"\xf8\x88\x80\x80\x80",
            b"\x80",
        ]
        .map(<[u8]>::to_vec),
    );
    names.extend([
        vec![b'n'; 255],
        vec![0xfe; 255],
        "\u{20ac}".repeat(85).into_bytes(),
        vec![b'\n'; 255],
    ]);
    names
}

fn names(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    let mut actor = Actor::both(&root);
    actor.set_weak(kind == Fs::Overlay, false);
    let top = actor.known(&root);
    let other = actor.mkdir(top, "other");
    for name in nasty_names() {
        let file = actor.write(top, &name);
        actor.rename(file, other, &name);
        actor.unlink(file);
        // As a directory, with a nasty name below it.
        let dir = actor.mkdir(top, &name);
        let below = actor.write(dir, &name);
        actor.rename(dir, other, &name);
        actor.unlink(below);
        actor.rmdir(dir);
    }
    recorder.settle("_global", &root);
    recorder.stop();
    let lines = home.log("_global");
    actor.truth().check(&lines);
    let text = fs::read(home.log_path("_global")).unwrap();
    let control = str::from_utf8(&text)
        .unwrap()
        .chars()
        .find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "a control character stands bare in the log");
}

/// Directories one in the other until the path is as long as PATH_MAX allows, and then beyond.
fn depth(kind: Fs) {
    const NAME: usize = 200;
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    let mut path = root.as_os_str().as_bytes().to_vec();
    let mut dirs: Vec<OwnedFd> = vec![open_dir(CWD, &path)];
    let mut expected = Vec::new();
    let mode = Mode::from_raw_mode(0o755);
    for level in 0..25_u8 {
        let name = vec![b'a' + level; NAME];
        let last = dirs.last().unwrap();
        mkdirat(last, os(&name), mode).unwrap();
        path.push(b'/');
        path.extend_from_slice(&name);
        expected.push(path.clone());
        dirs.push(open_dir(last, &name));
        let file = [path.as_slice(), b"/f"].concat();
        mknodat(dirs.last().unwrap(), "f", FileType::RegularFile, mode, 0).unwrap();
        expected.push(file);
    }
    recorder.settle("_global", &root);
    for level in (0..25_u8).rev() {
        unlinkat(&dirs[usize::from(level) + 1], "f", AtFlags::empty()).unwrap();
        unlinkat(
            &dirs[usize::from(level)],
            os(&[b'a' + level; NAME]),
            AtFlags::REMOVEDIR,
        )
        .unwrap();
    }
    drop(dirs);
    recorder.settle("_global", &root);
    recorder.stop();

    let lines = home.log("_global");
    let mut report = Report::default();
    for path in &expected {
        for kind in ["CREATE", "DELETE"] {
            let count = lines
                .iter()
                .filter(|line| line.kind == kind && line.path == *path)
                .count();
            if count != 1 {
                report.add(
                    "not told once",
                    format!("{kind} of a path of {} bytes: {count} times", path.len()),
                );
            }
        }
    }
    for line in lines.iter().filter(|line| !expected.contains(&line.path)) {
        report.add("never happened", line.show());
    }
    report.panic_if_any(lines.len());
}

fn open_dir(at: impl std::os::fd::AsFd, name: &[u8]) -> OwnedFd {
    openat(
        at,
        os(name),
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap()
}
