//! Burst rules at the edge of their windows, and how long an alert silences its repeats.
//!
//! Each process looks at the clock before and after each of its operations. Only what is clearly within
//! or beyond the window is judged by that; by the times in the log everything is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::Suite;
use crate::actor::Dice;
use crate::alerts::{alerts_of, script, start, values};
use crate::ground::{Fs, Ground};
use crate::recorder::Home;
use crate::wait::let_pass;
use crate::workers::{Worker, together};

const COUNTS: [usize; 5] = [2, 3, 7, 20, 50];
const WINDOWS: [u64; 4] = [50, 120, 350, 1000];
/// How much later than it happened an event may be read and still be judged by the clock of its process.
const MARGIN: i64 = 10_000_000;
const MILLI: i64 = 1_000_000;

pub(crate) fn list(suite: &mut Suite) {
    suite.one("bursts_at_the_edge_of_the_window", at_the_edge);
    suite.one("bursts_of_a_tree_of_processes", of_a_tree);
    suite.one("repeats_are_silenced_by_rule_and_process", silenced);
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_nanos()).unwrap()
}

/// Rounds of operations around the edge: one less than alerts, exactly so many, and so many with random gaps.
pub(crate) fn work(dir: &Path, count: usize, window: usize) {
    let mut dice = Dice::new((count * 10_000 + window) as u64);
    let mut times = Vec::new();
    let rounds = match window {
        ..100 => 16,
        100..200 => 12,
        200..500 => 6,
        _ => 3,
    };
    let window = window as u64 * 1000;
    for round in 0..rounds {
        let (operations, span) = match round {
            0 => (count - 1, 0),
            1 => (count + 4, 0),
            _ => (count, window / 100 * (60 + dice.roll(80) as u64)),
        };
        let mut at: Vec<u64> = (0..operations)
            .map(|_| dice.roll(1000) as u64 * span / 1000)
            .collect();
        at.sort_unstable();
        *at.last_mut().unwrap() = span;
        let began = Instant::now();
        for offset in at {
            let offset = Duration::from_micros(offset);
            let_pass(offset.saturating_sub(began.elapsed()));
            let path = dir.join(times.len().to_string());
            let before = now();
            mknodat(CWD, &path, FileType::RegularFile, Mode::RUSR, 0).unwrap();
            times.push((before, now()));
        }
        let_pass(Duration::from_micros(window + window / 4) + Duration::from_millis(15));
    }
    for (before, after) in times {
        println!("{before} {after}");
    }
}

/// The time of a line in nanoseconds of its day and the next.
fn time_of(line: &Value, day: &str) -> i64 {
    let text = line["time"].as_str().unwrap();
    let part = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let seconds = part(11, 13) * 3600 + part(14, 16) * 60 + part(17, 19);
    let later = if text.starts_with(day) { 0 } else { 86_400 };
    (seconds + later) * 1_000_000_000 + part(20, 29)
}

#[derive(Debug, Default)]
struct Verdicts {
    must: usize,
    must_not: usize,
    at_edge: usize,
    late: usize,
}

fn at_the_edge() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let mut rules = String::new();
    let mut workers = BTreeMap::new();
    for (count, window) in all_rules() {
        let name = format!("b{count}-{window}");
        rules += &format!(
            "[[rule]]\nname = \"{name}\"\nkind = \"burst\"\nbelow = \"@/{name}\"\ncount = {count}\n\
             window = \"{window}ms\"\ntypes = \"CREATE\"\ncooldown = \"0\"\n"
        );
        fs::create_dir(root.join(&name)).unwrap();
    }
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = start(&home, &root, &rules);
    for (count, window) in all_rules() {
        let dir = root.join(format!("b{count}-{window}"));
        let words = [
            dir.to_str().unwrap(),
            &count.to_string(),
            &window.to_string(),
        ];
        workers.insert((count, window), Worker::new("bursts", &words));
    }
    for worker in workers.values_mut() {
        worker.go();
    }
    let results: BTreeMap<_, _> = workers
        .into_iter()
        .map(|(rule, worker)| (rule, (worker.pid(), worker.finish())))
        .collect();
    recorder.settle("_global", &root);
    recorder.stop();

    let lines = values(&home, "_global");
    let day = lines[0]["time"].as_str().unwrap()[..10].to_owned();
    let mut verdicts = Verdicts::default();
    for ((count, window), (pid, text)) in results {
        let name = format!("b{count}-{window}");
        let own = format!("/{name}/");
        let is_own = |line: &&Value| line["path"].as_str().unwrap().contains(&own);
        let told: Vec<&Value> = lines.iter().filter(is_own).collect();
        let done = clocks(&text);
        assert_eq!(told.len(), done.len(), "{name}");
        let mut alerts = BTreeMap::new();
        for alert in alerts_of(&home, &name) {
            assert_eq!(alert["pid"], pid, "{alert}");
            assert_eq!(alert["window_ms"], window, "{alert}");
            alerts.insert(alert["path"].as_str().unwrap().to_owned(), alert);
        }
        let times: Vec<i64> = told.iter().map(|line| time_of(line, &day)).collect();
        for (at, line) in told.iter().enumerate() {
            let path = line["path"].as_str().unwrap();
            let alert = alerts.remove(path);
            let within = |time: &&i64| times[at] - **time <= window as i64 * MILLI;
            let inside = times[..=at].iter().filter(within).count();
            let counted = alert.as_ref().map(|alert| alert["count"].as_u64().unwrap());
            let wanted = (inside >= count).then_some(inside as u64);
            assert_eq!(counted, wanted, "{name}: {line}");
            judge(
                &mut verdicts,
                (at, count, window),
                &done,
                &times,
                counted.is_some(),
            );
        }
        assert!(alerts.is_empty(), "{alerts:?}");
    }
    let judged = verdicts.must + verdicts.must_not;
    let left = verdicts.at_edge + verdicts.late;
    println!(
        "{verdicts:?}: {:.2} % of {} not judged by the clock",
        100.0 * left as f64 / (judged + left) as f64,
        judged + left
    );
    assert!(verdicts.must > 0 && verdicts.must_not > 0, "{verdicts:?}");
}

fn all_rules() -> impl Iterator<Item = (usize, u64)> {
    COUNTS
        .into_iter()
        .flat_map(|count| WINDOWS.map(|window| (count, window)))
}

/// Compares an event with the clocks of the process that caused it.
fn judge(
    verdicts: &mut Verdicts,
    (at, count, window): (usize, usize, u64),
    done: &[(i64, i64)],
    told: &[i64],
    alerts: bool,
) {
    let Some(first) = (at + 1).checked_sub(count) else {
        verdicts.must_not += 1;
        return assert!(!alerts, "alerts at event {} of {count}", at + 1);
    };
    let window = window as i64 * MILLI;
    let day = 86_400_000_000_000;
    let lateness = |at: usize| (told[at] % day - done[at].1 % day).rem_euclid(day);
    let longest = done[at].1 - done[first].0 + MARGIN;
    let shortest = done[at].0 - done[first].1 - MARGIN;
    // A time before the operation was over is not late.
    if [first, at]
        .into_iter()
        .any(|at| (MARGIN..day / 2).contains(&lateness(at)))
    {
        verdicts.late += 1;
    } else if longest <= window {
        verdicts.must += 1;
        assert!(alerts, "event {at} and {first} are {longest} ns apart");
    } else if shortest > window {
        verdicts.must_not += 1;
        assert!(!alerts, "event {at} and {first} are {shortest} ns apart");
    } else {
        verdicts.at_edge += 1;
    }
}

fn clocks(text: &str) -> Vec<(i64, i64)> {
    text.lines()
        .map(|line| {
            let (before, after) = line.split_once(' ').unwrap();
            (before.parse().unwrap(), after.parse().unwrap())
        })
        .collect()
}

/// The children of one process of the group count as one, and two such processes are apart.
fn of_a_tree() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let rule = |name: &str, more: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nkind = \"burst\"\nbelow = \"@\"\nwindow = \"60s\"\n\
             types = \"CREATE\"\ncooldown = \"0\"\ncmd = \"fsmontree\"\n{more}\n"
        )
    };
    let rules = rule("tree", "count = 10\nper = \"tree\"") + &rule("each", "count = 2");
    let mut recorder = start(&home, &root, &rules);
    let tree = ground.dir.join("fsmontree");
    let this = tree.display();
    // So many of its children, then so many of a child that is in the group as well.
    script(
        &tree,
        &format!(
            "n=$2; while [ $n -gt 0 ]; do touch $1-$n; n=$((n-1)); done; \
             if [ $# -gt 2 ]; then {this} $1-deeper $3; fi; exit 0"
        ),
    );
    let run = |words: &[&str]| {
        let mut program = Command::new(&tree);
        program.current_dir(&root).args(words).spawn().unwrap()
    };
    let mut all = vec![
        run(&["nine", "9"]),
        run(&["other", "9"]),
        run(&["deep", "4", "5"]),
        run(&["ten", "10"]),
        run(&["both", "4", "8"]),
    ];
    let stranger = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do touch stranger-$n; echo > own-$n; done";
    let mut sh = Command::new("/bin/sh");
    all.push(
        sh.args(["-c", stranger])
            .current_dir(&root)
            .spawn()
            .unwrap(),
    );
    for mut child in all {
        assert!(child.wait().unwrap().success());
    }
    recorder.settle("_global", &root);
    recorder.stop();
    let mut told: Vec<(String, u64)> = values(&home, "_alerts")
        .iter()
        .map(|alert| {
            assert_eq!(alert["rule"], "tree", "{alert}");
            assert_eq!(alert["cmd"], "touch", "{alert}");
            let path = alert["path"].as_str().unwrap();
            let name = path.rsplit('/').next().unwrap();
            (name.to_owned(), alert["count"].as_u64().unwrap())
        })
        .collect();
    told.sort();
    let wanted = [
        ("both-deeper-1", 12),
        ("both-deeper-2", 11),
        ("both-deeper-3", 10),
        ("ten-1", 10),
    ];
    assert_eq!(told, wanted.map(|(name, count)| (name.to_owned(), count)));
}

/// Opens files in turn, again and again: how often, how many milliseconds apart, which.
pub(crate) fn open(words: &[String]) {
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    for round in 0..number(0) {
        if round > 0 {
            let_pass(Duration::from_millis(number(1)));
        }
        for path in &words[2..] {
            File::open(path).unwrap();
        }
    }
}

fn silenced() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "OPEN,CREATE"]);
    let mut rules = String::new();
    for (name, cooldown, path) in [
        ("long", "1h", "key"),
        ("other", "1h", "key"),
        ("elsewhere", "1h", "other"),
        ("short", "250ms", "key"),
        ("none", "0", "key"),
    ] {
        rules += &format!(
            "[[rule]]\nname = \"{name}\"\nkind = \"canary\"\npaths = \"@/{path}\"\non = \"opened\"\n\
             cooldown = \"{cooldown}\"\n"
        );
    }
    let (key, other) = (root.join("key"), root.join("other"));
    fs::write(&key, "").unwrap();
    fs::write(&other, "").unwrap();
    let (key, other) = (key.to_str().unwrap(), other.to_str().unwrap());
    let mut recorder = start(&home, &root, &rules);
    let workers = vec![
        Worker::new("visits", &["40", "30", key]),
        Worker::new("visits", &["12", "90", key, other]),
        Worker::new("visits", &["1", "0", other]),
    ];
    let pids: Vec<u32> = workers.iter().map(Worker::pid).collect();
    together(workers);
    recorder.settle("_global", &root);
    recorder.stop();

    let lines = values(&home, "_global");
    let day = lines[0]["time"].as_str().unwrap()[..10].to_owned();
    let shown = |lines: &[Value], pid: u32, path: &str| -> Vec<i64> {
        let fits = |line: &&Value| {
            line["pid"] == pid && line["path"] == path && line["event_type"] == "OPEN"
        };
        lines
            .iter()
            .filter(fits)
            .map(|line| time_of(line, &day))
            .collect()
    };
    for (rule, cooldown, path) in [
        ("long", i64::MAX, key),
        ("other", i64::MAX, key),
        ("elsewhere", i64::MAX, other),
        ("short", 250 * MILLI, key),
        ("none", 0, key),
    ] {
        let alerts = alerts_of(&home, rule);
        let mut all = 0;
        for pid in &pids {
            let mut wanted = Vec::new();
            for time in shown(&lines, *pid, path) {
                if wanted.last().is_none_or(|last| time - last >= cooldown) {
                    wanted.push(time);
                }
            }
            assert_eq!(shown(&alerts, *pid, path), wanted, "{rule} {pid}");
            all += wanted.len();
        }
        assert_eq!(alerts.len(), all, "{rule}");
        println!("{rule}: {all} alerts");
        match rule {
            "short" | "none" => assert!(all > 2, "{all}"),
            _ => assert_eq!(all, 2, "{rule}"),
        }
    }
}
