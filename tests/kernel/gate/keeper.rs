//! A process that holds a gate, and is told line by line what to do with it.

use std::fmt::Write as _;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use fsmon::filters::pattern::PathPattern;
use fsmon::monitor::gate::{Gate, Guarded, Scope, Told};
use rustix::process::Resource;

use crate::wait::{PATIENCE, until};
use crate::workers::Worker;

/// Nobody decides; or everything passes, or everything is refused.
const NEVER: u8 = 0;
const PASS: u8 = 1;
const REFUSE: u8 = 2;

/// The process, seen from the test. Opens by the test and by all other workers are not its own.
#[derive(Debug)]
pub(crate) struct Keeper {
    worker: Worker,
}

/// What one open came to, as the gate told it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Heard {
    pub(crate) kind: String,
    pub(crate) rule: u16,
    pub(crate) pid: u32,
    pub(crate) path: String,
    /// Name of the process, or the kernel's mask of what was only seen.
    pub(crate) more: String,
}

impl Keeper {
    /// Starts it; an open that nobody decides about passes after `deadline`.
    pub(crate) fn new(deadline: Duration) -> Self {
        Self::with_files(deadline, 1024)
    }

    /// The same with so many descriptors, unless it helps itself to more.
    pub(crate) fn with_files(deadline: Duration, files: u64) -> Self {
        let words = [deadline.as_millis().to_string(), files.to_string()];
        let mut worker = Worker::new("gate", &words.each_ref().map(String::as_str));
        worker.go();
        let mut keeper = Self { worker };
        assert_eq!(keeper.worker.hear(), "open");
        keeper
    }

    /// Guards by these rules, numbered from 0: patterns, commands, excepted commands, users, each with
    /// commas between. Returns how many directories and files have marks.
    pub(crate) fn guard(&mut self, rules: &[[&str; 4]]) -> (usize, usize) {
        let mut words = "guard".to_owned();
        for rule in rules {
            write!(words, "\t{}", rule.join("|")).unwrap();
        }
        let answer = self.ask(&words);
        let mut numbers = answer.split(' ').map(|word| word.parse().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    /// One of `dir`, `file`, `gone`, `observe`, `mount`, on a path.
    pub(crate) fn tell(&mut self, word: &str, path: &Path) -> String {
        self.ask(&format!("{word}\t{}", path.display()))
    }

    /// One of `never`, `pass`, `refuse`: what is said to questions; or `files N`, `exempt PID`.
    pub(crate) fn order(&mut self, word: &str) {
        self.ask(word);
    }

    /// The next refusals, so many at least: they are told behind the answer.
    pub(crate) fn refusals(&mut self, number: usize) -> Vec<Heard> {
        let mut refusals = Vec::new();
        let all = until(PATIENCE, || {
            refusals.extend(self.told().into_iter().filter(|one| one.kind == "refused"));
            (refusals.len() >= number).then_some(())
        });
        assert!(all.is_some(), "{refusals:?}");
        refusals
    }

    /// Everything told since the last call.
    pub(crate) fn told(&mut self) -> Vec<Heard> {
        let number: usize = self.ask("told").parse().unwrap();
        let line = |_| {
            let line = self.worker.hear();
            let words: Vec<&str> = line.split('\t').collect();
            Heard {
                kind: words[0].to_owned(),
                rule: words[1].parse().unwrap(),
                pid: words[2].parse().unwrap(),
                path: words[3].to_owned(),
                more: words[4].to_owned(),
            }
        };
        (0..number).map(line).collect()
    }

    /// Opens looked at, refused, asked about, overdue, failed.
    pub(crate) fn tally(&mut self) -> [u64; 5] {
        let answer = self.ask("tally");
        let numbers: Vec<u64> = answer
            .split(' ')
            .map(|word| word.parse().unwrap())
            .collect();
        numbers.try_into().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.worker.pid()
    }

    /// Ends it as it ends by itself.
    pub(crate) fn end(self) {
        self.worker.finish();
    }

    fn ask(&mut self, line: &str) -> String {
        self.worker.say(line);
        self.worker.hear()
    }
}

/// What the process itself does.
pub(crate) fn keep(words: &[String]) {
    let deadline = Duration::from_millis(words[0].parse().unwrap());
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = Some(words[1].parse().unwrap());
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    let gate = Arc::new(Gate::open(std::process::id(), deadline).unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let says = Arc::new(AtomicU8::new(PASS));
    let (hand_over, from_pump) = mpsc::channel();
    let pump = {
        let gate = Arc::clone(&gate);
        thread::spawn(move || gate.pump(&|told| hand_over.send(told).unwrap()))
    };
    let owner = {
        let (gate, told, says) = (Arc::clone(&gate), Arc::clone(&told), Arc::clone(&says));
        thread::spawn(move || {
            for one in from_pump {
                let asked = match &one {
                    Told::Asked(question) => Some((question.id, question.rules[0].rule)),
                    _ => None,
                };
                // Whoever it is about goes on as soon as it is decided, and may look here.
                told.lock().unwrap().push(one);
                if let Some((id, rule)) = asked {
                    let refused_by = match says.load(Ordering::Relaxed) {
                        NEVER => None,
                        PASS => Some(None),
                        _ => Some(Some(rule)),
                    };
                    let refusal = refused_by.and_then(|by| gate.decide(id, by));
                    told.lock().unwrap().extend(refusal.map(Told::Refused));
                }
            }
        })
    };
    println!("open");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split('\t').collect();
        println!("{}", obey(&gate, &told, &says, &words));
        std::io::stdout().flush().unwrap();
    }
    gate.stop();
    pump.join().unwrap().unwrap();
    owner.join().unwrap();
}

fn obey(gate: &Gate, told: &Mutex<Vec<Told>>, says: &AtomicU8, words: &[&str]) -> String {
    let path = || words[1].as_bytes();
    match words[0] {
        "guard" => {
            let rules = (0..).zip(&words[1..]);
            let guarding = gate.guard(rules.map(|(at, text)| rule(at, text)).collect());
            let guarding = guarding.unwrap();
            assert!(guarding.troubles.is_empty(), "{:?}", guarding.troubles);
            return format!("{} {}", guarding.directories, guarding.files);
        }
        "dir" => {
            let guarding = gate.directory_appeared(path()).unwrap();
            assert!(guarding.troubles.is_empty(), "{:?}", guarding.troubles);
        }
        "file" => gate.file_appeared(path()).unwrap(),
        "gone" => gate.gone(path()),
        "never" => says.store(NEVER, Ordering::Relaxed),
        "pass" => says.store(PASS, Ordering::Relaxed),
        "refuse" => says.store(REFUSE, Ordering::Relaxed),
        "exempt" => gate.exempt(words[1].parse().unwrap()),
        "observe" | "mount" => {
            let scope = match words[0] {
                "mount" => Scope::Mount,
                _ => Scope::Filesystem,
            };
            return match gate.observe(Path::new(words[1]), scope) {
                Ok(observed) => format!("{:?} {:?}", observed.scope, observed.fell_back),
                Err(error) => format!("{error}"),
            };
        }
        "tally" => {
            let tally = gate.tally();
            return format!(
                "{} {} {} {} {}",
                tally.opens, tally.refused, tally.asked, tally.overdue, tally.failed
            );
        }
        "told" => {
            let told = std::mem::take(&mut *told.lock().unwrap());
            let mut text = told.len().to_string();
            told.iter().for_each(|one| line(&mut text, one));
            return text;
        }
        other => panic!("no such order: {other}"),
    }
    "done".to_owned()
}

fn rule(number: u16, text: &str) -> Guarded {
    let parts: Vec<&str> = text.split('|').collect();
    let list = |at: usize| {
        let words = parts[at].split(',').filter(|word| !word.is_empty());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let patterns = list(0).into_iter().map(|text| PathPattern::parse(&text));
    Guarded {
        rule: number,
        patterns: patterns.map(Result::unwrap).collect(),
        cmds: list(1),
        except_cmds: list(2),
        users: list(3),
    }
}

fn line(text: &mut String, told: &Told) {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (kind, rule, pid, path, more) = match told {
        Told::Refused(one) => (
            "refused",
            one.rule,
            one.pid,
            shown(&one.path),
            shown(&one.comm),
        ),
        Told::Asked(one) => (
            "asked",
            one.rules[0].rule,
            one.pid,
            shown(&one.path),
            one.rules[0].cmds.join(","),
        ),
        Told::Overdue(one) => {
            let (asked, crowded) = (&one.question, one.crowded);
            let more = if crowded { "crowded" } else { "late" };
            (
                "overdue",
                asked.rules[0].rule,
                asked.pid,
                shown(&asked.path),
                more.to_owned(),
            )
        }
        Told::Seen(one) => ("seen", 0, one.pid, shown(&one.path), one.mask.to_string()),
        Told::Lost(why) => ("lost", 0, 0, why.clone(), String::new()),
    };
    write!(text, "\n{kind}\t{rule}\t{pid}\t{path}\t{more}").unwrap();
}
