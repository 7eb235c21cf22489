//! Command groups over whole trees of processes: exactly their own, whoever died or was renamed.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::Suite;
use crate::deeds::{Maker, Stage, Verdict, chain_of};
use crate::ground::{Fs, Ground};
use crate::lines::Line;
use crate::recorder::Home;
use crate::wait::{PATIENCE, until};

pub(crate) fn list(suite: &mut Suite) {
    for kind in [Fs::Tmpfs, Fs::Ext4] {
        suite.on(kind, "tree_of_a_thousand", tree);
    }
}

/// Words for one process and its descendants, and what each of them is.
struct Family {
    program: String,
    words: Vec<String>,
    sorts: HashMap<&'static str, Maker>,
    counts: HashMap<&'static str, usize>,
    cmd: &'static str,
    exe: String,
    above: Vec<&'static str>,
    number: String,
    count: usize,
}

impl Family {
    fn new(cmd: &'static str, exe: String) -> Self {
        Self {
            program: exe.clone(),
            words: Vec::new(),
            sorts: HashMap::new(),
            counts: HashMap::new(),
            cmd,
            exe,
            above: Vec::new(),
            number: "n".to_owned(),
            count: 1,
        }
    }

    fn say(&mut self, words: &[&str]) {
        self.words
            .extend(words.iter().map(|word| (*word).to_owned()));
    }

    fn make(&mut self, stage: &Stage, sort: &'static str) {
        let file = stage.file(sort, &self.number);
        self.say(&["make", &file]);
        let maker = Maker {
            cmd: self.cmd,
            exe: self.exe.clone(),
            above: self.above.clone(),
            root: String::new(),
            or: None,
        };
        self.sorts.insert(sort, maker);
        self.counts.insert(sort, self.count);
    }

    /// Four children, who are grandchildren of nobody alive: what forked them is dead.
    fn each(&mut self, words: &[&str]) {
        self.say(&["each", "4"]);
        self.above.insert(0, self.cmd);
        for word in words {
            self.say(&[word]);
            if matches!(*word, "leave" | "fork" | "clone3") {
                self.above.insert(0, self.cmd);
            }
        }
        self.number += "-#";
        self.count *= 4;
    }

    fn spawn(&mut self, cmd: &'static str, exe: String) {
        self.say(&["spawn", &exe, "x"]);
        self.above.insert(0, self.cmd);
        (self.cmd, self.exe) = (cmd, exe);
    }
}

/// A tree five levels deep, whose parents die first, and strangers who do the same beside it.
fn families(stage: &Stage) -> (Family, Family) {
    let (agent, tool) = (stage.program("fsmon-agent"), stage.program("fsmon-tool"));
    let mut family = Family::new("fsmon-agent", agent);
    // Older than the daemon: it waits for its line of input.
    family.say(&["wait"]);
    family.make(stage, "top");
    family.each(&["setsid", "leave"]);
    family.make(stage, "child");
    family.each(&["leave"]);
    family.make(stage, "grandchild");
    family.each(&[]);
    family.spawn("fsmon-tool", tool);
    family.make(stage, "tool");
    family.each(&["leave", "setsid", "leave"]);
    family.make(stage, "orphan");
    family.each(&["fork"]);
    family.make(stage, "last");
    // Strangers of another name do the same beside them.
    let stranger = stage.program("fsmon-stranger");
    let mut strangers = Family::new("fsmon-stranger", stranger);
    strangers.say(&["wait"]);
    for _ in 0..5 {
        strangers.each(&["leave"]);
    }
    strangers.make(stage, "strange");
    (family, strangers)
}

fn tree(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let stage = Stage::new(&root);
    let home = Home::new(&ground);
    let (family, strangers) = families(&stage);
    let start = |family: &Family| {
        Command::new(&family.program)
            .args(&family.words)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut parents = [start(&family), start(&strangers)];
    for group in ["_global", "fsmon-agent", "fsmon-tool", "fsmon-nobody"] {
        home.watch(group, &stage.made, &["-r", "-t", "CREATE"]);
    }
    home.configure("[logging]\nchain = \"always\"");
    let mut recorder = home.start();
    let me = chain_of(std::process::id());
    for parent in &mut parents {
        parent.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    for mut parent in parents {
        assert!(parent.wait().unwrap().success());
    }
    let own: usize = family.counts.values().sum();
    let all = own + strangers.count;
    let made = || std::fs::read_dir(&stage.made).unwrap().count();
    until(PATIENCE, || (made() == all).then_some(())).expect("all files");
    recorder.settle("_global", &stage.made);
    recorder.stop();

    let mut cast = family.sorts;
    cast.extend(strangers.sorts);
    for maker in cast.values_mut() {
        maker.root.clone_from(&me);
    }
    let mut counts = family.counts;
    let global = home.log("_global");
    let verdict = Verdict::of(&global, &stage, &[cast]);
    verdict.print(&format!(
        "a tree of {own} and {} strangers on {}",
        strangers.count,
        kind.name()
    ));
    verdict.check_all_right();
    assert_eq!(global.len(), all, "_global has all");

    let same = |log: &[Line], sorts: &[&str]| {
        let is_of = |line: &&Line| {
            let name = line.path.rsplit(|byte| *byte == b'/').next().unwrap();
            sorts
                .iter()
                .any(|sort| name.starts_with(format!("{sort}.").as_bytes()))
        };
        let expected: Vec<String> = global.iter().filter(is_of).map(shown).collect();
        let told: Vec<String> = log.iter().map(shown).collect();
        assert!(
            told == expected,
            "{} lines, {} expected",
            told.len(),
            expected.len()
        );
    };
    let of_agent = ["top", "child", "grandchild", "tool", "orphan", "last"];
    same(&home.log("fsmon-agent"), &of_agent);
    same(&home.log("fsmon-tool"), &of_agent[3..]);
    same(&home.log("fsmon-nobody"), &[]);
    counts.insert("strange", strangers.count);
    for (sort, count) in counts {
        let prefix = format!("{}/{sort}.", stage.made.display());
        let told = global
            .iter()
            .filter(|line| line.path.starts_with(prefix.as_bytes()));
        assert_eq!(told.count(), count, "{sort}");
    }
}

fn shown(line: &Line) -> String {
    format!("{} {} {}", line.show(), line.ppid, line.chain)
}
