//! Who did it: every field about the process, for processes that live half a millisecond.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::Suite;
use crate::deeds::{Maker, STRANGER, Stage, Verdict, chain_of};
use crate::ground::{Fs, Ground};
pub(crate) use crate::plans::spawn;
use crate::recorder::Home;
use crate::workers::Worker;

pub(crate) fn list(suite: &mut Suite) {
    for kind in [Fs::Tmpfs, Fs::Ext4] {
        suite.on(kind, "short_lives", short_lives);
        suite.on(kind, "before_and_after_an_exec", before_and_after);
    }
}

/// Scripts for [`spawn`], and who makes the files of each sort.
pub(crate) struct Cast {
    pub(crate) scripts: Vec<String>,
    pub(crate) sorts: HashMap<&'static str, Maker>,
}

impl Cast {
    pub(crate) fn new() -> Self {
        Self {
            scripts: Vec::new(),
            sorts: HashMap::new(),
        }
    }

    pub(crate) fn script(&mut self, words: &[&str]) {
        self.scripts.push(words.join("\t"));
    }

    pub(crate) fn maker(
        &mut self,
        sort: &'static str,
        cmd: &'static str,
        exe: &str,
        above: &[&'static str],
    ) -> &mut Maker {
        let maker = Maker {
            cmd,
            exe: exe.to_owned(),
            above: above.to_vec(),
            root: String::new(),
            or: None,
        };
        self.sorts.entry(sort).insert_entry(maker).into_mut()
    }

    /// Runs `rounds` rounds of all scripts, shared by two workers, whose chains end those of all makers.
    pub(crate) fn play(&self, ground: &Ground, rounds: usize) -> Vec<HashMap<&'static str, Maker>> {
        let list = self.write(ground);
        let count = rounds / 2 * self.scripts.len();
        self.perform(&list, &[(0, count), (count, count)], |_| ())
    }

    /// Runs each script once, all at the same time; `meanwhile` can ask whether all are done.
    pub(crate) fn play_at_once(
        &self,
        ground: &Ground,
        meanwhile: impl FnOnce(&mut dyn FnMut() -> bool),
    ) -> Vec<HashMap<&'static str, Maker>> {
        let list = self.write(ground);
        let parts: Vec<_> = (0..self.scripts.len()).map(|at| (at, 1)).collect();
        self.perform(&list, &parts, meanwhile)
    }

    fn write(&self, ground: &Ground) -> PathBuf {
        let list = ground.dir.join("scripts");
        std::fs::write(&list, self.scripts.join("\n")).unwrap();
        list
    }

    fn perform(
        &self,
        list: &Path,
        parts: &[(usize, usize)],
        meanwhile: impl FnOnce(&mut dyn FnMut() -> bool),
    ) -> Vec<HashMap<&'static str, Maker>> {
        let mut workers: Vec<Worker> = parts
            .iter()
            .map(|(first, count)| {
                let (first, count) = (first.to_string(), count.to_string());
                Worker::new("spawn", &[list.to_str().unwrap(), &first, &count])
            })
            .collect();
        let casts = workers
            .iter()
            .map(|worker| {
                let root = chain_of(worker.pid());
                let mut sorts = self.sorts.clone();
                for maker in sorts.values_mut() {
                    maker.root.clone_from(&root);
                }
                sorts
            })
            .collect();
        for worker in &mut workers {
            worker.go();
        }
        meanwhile(&mut || workers.iter_mut().all(Worker::is_done));
        for worker in workers {
            worker.finish();
        }
        casts
    }
}

fn cast_of_short_lives(stage: &Stage) -> Cast {
    let uid = STRANGER.to_string();
    let mut cast = Cast::new();
    let file = |sort: &str| stage.file(sort, "@");
    for (sort, name) in [
        ("a", "plain-a"),
        ("b", "plain-b"),
        ("c", "a b) R 1 (c"),
        ("d", "p|q;r\\s"),
        ("e", "plain-e"),
    ] {
        let path = stage.program(name);
        cast.script(&[&path, "make", &file(sort), "drop"]);
        cast.maker(sort, name, &path, &[]);
    }
    let (starter, after) = (stage.program("starter"), stage.program("after-setuid"));
    cast.script(&[
        &starter,
        "setuid",
        &uid,
        "become",
        &after,
        "x",
        "make",
        &file("setuid"),
        "drop",
    ]);
    cast.maker("setuid", "after-setuid", &after, &[]);
    let raised = stage.set_user_id_program("set-user-id");
    cast.script(&[&raised, "make", &file("suid"), "drop"]);
    cast.maker("suid", "set-user-id", &raised, &[]);
    let turner = stage.program("turner");
    cast.script(&[&turner, "seteuid", &uid, "make", &file("seteuid"), "drop"]);
    cast.maker("seteuid", "turner", &turner, &[]);
    let elder = stage.program("elder");
    cast.script(&[
        &elder,
        "setuid",
        &uid,
        "fork",
        "fork",
        "make",
        &file("heir"),
        "drop",
    ]);
    cast.maker("heir", "elder", &elder, &["elder", "elder"]);
    let child = stage.program("grandchild");
    cast.script(&[
        &elder,
        "setuid",
        &uid,
        "fork",
        "fork",
        "become",
        &child,
        "x",
        "make",
        &file("child"),
        "drop",
    ]);
    cast.maker("child", "grandchild", &child, &["elder", "elder"]);
    cast
}

/// 20,000 processes on both cores, half of them as another user, who became that in four ways.
fn short_lives(kind: Fs) {
    const ROUNDS: usize = 1600;
    let ground = Ground::new();
    let root = ground.mount(kind);
    let stage = Stage::new(&root);
    let home = Home::new(&ground);
    home.configure("[logging]\nchain = \"always\"");
    let cast = cast_of_short_lives(&stage);
    home.watch(
        "_global",
        &stage.made,
        &["-r", "-t", "CREATE,CLOSE_WRITE,DELETE"],
    );
    let mut recorder = home.start();
    let casts = cast.play(&ground, ROUNDS);
    recorder.settle("_global", &stage.made);
    recorder.stop();

    let lines = home.log("_global");
    let verdict = Verdict::of(&lines, &stage, &casts);
    verdict.print(&format!("short lives on {}", kind.name()));
    for sort in cast.sorts.keys() {
        for told in ["CREATE", "CLOSE_WRITE", "DELETE"] {
            verdict.check_told(sort, told, ROUNDS);
        }
    }
    verdict.check_all_right();
}

fn cast_of_execs(stage: &Stage) -> Cast {
    let mut cast = Cast::new();
    let file = |sort: &str| stage.file(sort, "@");
    let names = ["first", "second", "third", "fourth", "fifth"];
    let [first, second, third, fourth, fifth] = names.map(|name| stage.program(name));
    for (p, t) in [("p", "t"), ("q", "u"), ("r", "v")] {
        cast.script(&[
            &first,
            "make",
            &file(p),
            "become",
            &second,
            "x",
            "make",
            &file(t),
        ]);
        cast.maker(p, "first", &first, &[]).or = Some("second");
        cast.maker(t, "second", &second, &[]);
    }
    cast.script(&[
        &first,
        "make",
        &file("1"),
        "become",
        &second,
        "x",
        "make",
        &file("2"),
        "become",
        &third,
        "x",
        "make",
        &file("3"),
        "become",
        &fourth,
        "x",
        "become",
        &fifth,
        "x",
        "make",
        &file("5"),
    ]);
    for (sort, at) in [("1", 0), ("2", 1), ("3", 2), ("5", 4)] {
        cast.maker(
            sort,
            names[at],
            [&first, &second, &third, &fourth, &fifth][at],
            &[],
        );
    }
    cast
}

/// What a process makes before an exec and after it, however late that is read.
fn before_and_after(kind: Fs) {
    const ROUNDS: usize = 500;
    for delay in [
        "",
        "read-delay-ms=1",
        "read-delay-ms=10",
        "read-delay-ms=50",
    ] {
        let ground = Ground::new();
        let root = ground.mount(kind);
        let stage = Stage::new(&root);
        let mut home = Home::new(&ground);
        home.configure("[logging]\nchain = \"always\"");
        home.switches = (!delay.is_empty()).then_some(delay);
        let cast = cast_of_execs(&stage);
        home.watch("_global", &stage.made, &["-r", "-t", "CREATE,CLOSE_WRITE"]);
        let mut recorder = home.start();
        let casts = cast.play(&ground, ROUNDS);
        recorder.settle("_global", &stage.made);
        recorder.stop();
        let lines = home.log("_global");
        let of_kind = |kind: &'static str| {
            let lines = lines.iter().filter(move |line| line.kind == kind);
            Verdict::of(lines, &stage, &casts)
        };
        let (made, closed) = (of_kind("CREATE"), of_kind("CLOSE_WRITE"));
        made.print(&format!(
            "CREATE before and after an exec on {}, {delay}",
            kind.name()
        ));
        closed.print(&format!(
            "CLOSE_WRITE before and after an exec on {}, {delay}",
            kind.name()
        ));
        for sort in cast.sorts.keys() {
            made.check_told(sort, "CREATE", ROUNDS);
            closed.check_told(sort, "CLOSE_WRITE", ROUNDS);
        }
        made.check_all_right();
        // The kernel adds the close to the unread record of the making, from before the exec.
        closed.check_never_wrong();
    }
}
