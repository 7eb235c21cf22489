//! Every way in which a program can be started, or called otherwise than its file.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::Suite;
use crate::deeds::{Stage, Verdict};
use crate::ground::{Fs, Ground};
use crate::lines::Line;
use crate::recorder::Home;
use crate::who::Cast;

pub(crate) fn list(suite: &mut Suite) {
    suite.one("ways_to_start_a_program", || ways(None));
    suite.one("ways_to_start_a_program_read_late", || {
        ways(Some("read-delay-ms=10"))
    });
    suite.tools("programs_of_the_system", &["busybox"], || {
        of_the_system(None)
    });
    suite.tools("programs_of_the_system_read_late", &["busybox"], || {
        of_the_system(Some("read-delay-ms=50"));
    });
}

fn sure_ways(stage: &Stage) -> Cast {
    let mut cast = Cast::new();
    let file = |sort: &str| stage.file(sort, "@");
    let starter = stage.program("starter");
    let target = stage.program("target");
    let beside = |name: &str| {
        Path::new(&starter)
            .with_file_name(name)
            .to_str()
            .unwrap()
            .to_owned()
    };

    let script = beside("script.sh");
    fs::write(&script, format!("#!{target} script\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    cast.script(&[&script, "make", &file("script")]);
    cast.maker("script", "script.sh", &target, &[]);
    let link = beside("a-link");
    symlink(&target, &link).unwrap();
    cast.script(&[&link, "make", &file("link")]);
    cast.maker("link", "a-link", &target, &[]);
    let long = stage.program("a-name-of-more-than-fifteen-bytes");
    cast.script(&[&long, "make", &file("long")]);
    cast.maker("long", "a-name-of-more-", &long, &[]);
    cast.script(&[
        &starter,
        "open-become",
        &target,
        "x",
        "make",
        &file("descriptor"),
    ]);
    cast.maker("descriptor", "target", &target, &[]);
    for (sort, word) in [("forked", "fork"), ("cloned", "clone3")] {
        cast.script(&[&starter, word, "make", &file(sort)]);
        cast.maker(sort, "starter", &starter, &["starter"]);
    }
    cast.script(&[&starter, "spawn", &target, "x", "make", &file("spawned")]);
    cast.maker("spawned", "target", &target, &["starter"]);
    cast.script(&[&starter, "thread", &file("threaded")]);
    cast.maker("threaded", "starter", &starter, &[]);
    cast
}

/// No mark can stand where a program in memory lies, none is left where the same file is opened
/// twice, and a new name leaves none either; an opening that was read before its exec was done may
/// be that of the exec before, if the file is the same. These may be ambiguous, not wrong.
fn add_unsure_ways(cast: &mut Cast, stage: &Stage) {
    let file = |sort: &str| stage.file(sort, "@");
    let (starter, target) = (stage.program("starter"), stage.program("target"));
    cast.script(&[
        &starter,
        "memory-become",
        "in-memory",
        "make",
        &file("memory"),
    ]);
    cast.maker("memory", "memfd:in-memory", "/memfd:in-memory", &[])
        .or = Some("starter");
    cast.script(&[
        &starter,
        "become",
        &target,
        "x",
        "make",
        &file("between"),
        "become",
        &starter,
        "x",
        "make",
        &file("again"),
    ]);
    cast.maker("between", "target", &target, &[]).or = Some("starter");
    cast.maker("again", "starter", &starter, &[]).or = Some("target");
    cast.script(&[
        &starter,
        "make",
        &file("one"),
        "become",
        &starter,
        "x",
        "make",
        &file("two"),
    ]);
    cast.maker("one", "starter", &starter, &[]);
    cast.maker("two", "starter", &starter, &[]);
    cast.script(&[
        &starter,
        "name",
        "renamed|to;this",
        "make",
        &file("renamed"),
    ]);
    cast.maker("renamed", "renamed|to;this", &starter, &[]).or = Some("starter");
}

fn ways(switches: Option<&'static str>) {
    const ROUNDS: usize = 200;
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let stage = Stage::new(&root);
    let mut home = Home::new(&ground);
    home.configure("[logging]\nchain = \"always\"");
    home.switches = switches;
    let mut cast = sure_ways(&stage);
    let exact: Vec<&str> = cast.sorts.keys().copied().collect();

    add_unsure_ways(&mut cast, &stage);
    home.watch("_global", &stage.made, &["-r", "-t", "CREATE"]);
    let mut recorder = home.start();
    let casts = cast.play(&ground, ROUNDS);
    recorder.settle("_global", &stage.made);
    recorder.stop();
    let lines = home.log("_global");
    let is_exact = |line: &&Line| {
        let name = line.path.rsplit(|byte| *byte == b'/').next().unwrap();
        exact
            .iter()
            .any(|sort| name.starts_with(format!("{sort}.").as_bytes()))
    };
    let (sure, unsure): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(is_exact);
    let late = switches.unwrap_or("live");
    let sure = Verdict::of(sure, &stage, &casts);
    let unsure = Verdict::of(unsure, &stage, &casts);
    sure.print(&format!("ways to start a program, {late}"));
    unsure.print(&format!(
        "programs in memory, opened twice, renamed, {late}"
    ));
    for sort in cast.sorts.keys() {
        let verdict = if exact.contains(sort) { &sure } else { &unsure };
        verdict.check_told(sort, "CREATE", ROUNDS);
    }
    sure.check_all_right();
    unsure.check_never_wrong();
}

/// Shells, pipes, applets: as an administrator would run them.
fn of_the_system(switches: Option<&'static str>) {
    let ground = Ground::new();
    let root = ground.mount(Fs::Ext4);
    let mut home = Home::new(&ground);
    home.switches = switches;
    let applet = ground.dir.join("truncate");
    symlink("/usr/bin/busybox", &applet).unwrap();
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = home.start();
    let script = format!(
        "for n in 1 2 3 4 5 6 7 8 9; do \
         sort < /etc/passwd > sorted-$n; \
         sh -c \"sort < /etc/passwd > inner-$n\"; \
         bash -c \"sort < /etc/passwd > bash-$n; true\"; \
         busybox touch touched-$n; \
         {} -s 5 applied-$n; \
         cat /etc/passwd | tee teed-$n > /dev/null; \
         env nice -n 1 touch deep-$n; \
         sh -c \"echo > pid-$n; exec touch done-$n\"; \
         done",
        applet.display()
    );
    let done = Command::new("/bin/sh")
        .args(["-c", &script])
        .current_dir(&root)
        .status()
        .unwrap();
    assert!(done.success());
    recorder.settle("_global", &root);
    recorder.stop();
    let lines = home.log("_global");
    let mut told = 0;
    for line in &lines {
        let name = String::from_utf8(
            line.path
                .rsplit(|byte| *byte == b'/')
                .next()
                .unwrap()
                .to_vec(),
        )
        .unwrap();
        let cmd = match name.split('-').next().unwrap() {
            "sorted" | "inner" | "pid" => "sh",
            "bash" => "bash",
            "touched" => "busybox",
            "applied" => "truncate",
            "teed" => "tee",
            "deep" | "done" => "touch",
            _ => continue,
        };
        told += 1;
        assert_eq!(
            (line.cmd.as_str(), line.attribution.as_str()),
            (cmd, ""),
            "{}",
            line.show()
        );
        assert_eq!(line.user, "root");
    }
    assert_eq!(told, 9 * 9);
}
