//! Does things to the recorder and around it, at random, and writes down what and when.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use fsmon::sys::clock;
use rustix::process::Signal;

use crate::actor::Dice;
use crate::recorder::Recorder;
use crate::wait::let_pass;

use super::Plan;
use super::chronicle::{Fault, Run};
use super::crew::{self, Job, Life, Pace, USERS};
use super::guests::Guest;
use super::machine::{self, Machine};
use super::pieces::Rotation;
use super::stage::Stage;

pub(crate) const SECOND: u64 = 1_000_000_000;

/// Something that has an end to be brought about.
#[derive(Debug)]
enum Ending {
    Continue {
        since: u64,
    },
    Start {
        since: u64,
        crashed: bool,
    },
    MakeRoom {
        since: u64,
    },
    Hear {
        since: u64,
        deaf: Vec<UnixStream>,
        tail: Option<Child>,
    },
    Restore {
        since: u64,
        machine: Machine,
    },
}

/// A command line that has not come back yet.
#[derive(Debug)]
struct Asked {
    child: Child,
    since: u64,
    group: usize,
    root: usize,
    on: bool,
}

pub(crate) struct Conductor<'s> {
    plan: Plan,
    stage: &'s mut Stage,
    dice: Dice,
    recorder: Option<Recorder>,
    endings: Vec<(u64, Ending)>,
    asked: Vec<Asked>,
    guest: Option<Guest>,
    next: usize,
    begin: u64,
    pub(crate) until: u64,
    pub(crate) said: Vec<String>,
}

impl<'s> Conductor<'s> {
    pub(crate) fn new(plan: Plan, stage: &'s mut Stage) -> Self {
        let begin = clock::monotonic();
        Self {
            dice: Dice::new(plan.seed),
            recorder: None,
            endings: Vec::new(),
            asked: Vec::new(),
            guest: None,
            next: 0,
            begin,
            until: begin + plan.seconds * SECOND,
            said: Vec::new(),
            plan,
            stage,
        }
    }

    /// The whole run, from the first start to the last end.
    pub(crate) fn perform(&mut self) {
        self.start();
        let mut act_at = clock::monotonic();
        let mut hire_at = act_at;
        let mut looked = act_at;
        while clock::monotonic() < self.until {
            let now = clock::monotonic();
            self.stage.chronicle.look_at_the_clock(looked);
            looked = now;
            self.end_what_is_due(now);
            self.hear_answers();
            self.tend_guest();
            if now >= hire_at {
                self.hire();
                hire_at = now + SECOND / 4;
            }
            if now >= act_at {
                self.act();
                let pause = self.dice.roll(2 * self.plan.pause_ms as usize) as u64;
                act_at = clock::monotonic() + pause * 1_000_000;
            }
            let_pass(Duration::from_millis(4));
        }
        self.finish();
    }

    fn act(&mut self) {
        match self.dice.roll(100) {
            0..26 => self.change_a_watch(),
            26..40 => self.rotate(),
            40..46 => self.clean(),
            46..53 => self.fill_the_disk(),
            53..60 => self.be_deaf(),
            60..69 => self.stop(),
            69..73 => self.kill(),
            73..76 => self.end(),
            76..81 => self.reload(),
            81..86 => self.kill_a_worker(),
            86..94 => self.mount(),
            _ => self.set_the_machine(),
        }
    }

    fn has(&self, what: impl Fn(&Ending) -> bool) -> bool {
        self.endings.iter().any(|(_, ending)| what(ending))
    }

    fn is_stopped(&self) -> bool {
        self.has(|ending| matches!(ending, Ending::Continue { .. }))
    }

    fn later(&mut self, least_ms: usize, most_ms: usize, ending: Ending) {
        let wait = least_ms + self.dice.roll(most_ms - least_ms);
        self.endings
            .push((clock::monotonic() + wait as u64 * 1_000_000, ending));
    }

    /// Starts the recorder, with much or little memory for what it cannot write or work off at once.
    fn start(&mut self) {
        let settings = [
            "",
            "[capture]\nceiling = \"1MB\"\nwrite_ceiling = \"1MB\"\n",
        ];
        let at = usize::from(self.dice.roll(3) == 0);
        self.stage.home.configure(settings[at]);
        let spawned = clock::monotonic();
        let recorder = self.stage.home.start();
        let ready = clock::monotonic();
        self.stage.chronicle.runs.push(Run {
            pid: recorder.pid(),
            spawned,
            ready,
            asked: u64::MAX,
            ended: u64::MAX,
            crashed: false,
        });
        if let Some(guest) = &mut self.guest {
            guest.is_known(ready, &mut self.stage.chronicle);
        }
        self.recorder = Some(recorder);
    }

    fn kill(&mut self) {
        self.forget_stop();
        let Some(recorder) = self.recorder.take() else {
            return;
        };
        let asked = clock::monotonic();
        self.said.extend(recorder.stderr());
        recorder.kill();
        self.ended(asked, true);
        self.later(
            1,
            900,
            Ending::Start {
                since: asked,
                crashed: true,
            },
        );
    }

    /// As a service manager ends it.
    fn end(&mut self) {
        self.forget_stop();
        let full = |(_, ending): &(u64, Ending)| matches!(ending, Ending::MakeRoom { .. });
        // An end on a full disk takes its time and loses what it holds; once in a while is enough.
        if let Some(at) = self.endings.iter().position(full)
            && self.dice.roll(4) > 0
        {
            self.bring_about(at);
        }
        let Some(mut recorder) = self.recorder.take() else {
            return;
        };
        let asked = clock::monotonic();
        recorder.signal(Signal::TERM);
        let status = recorder.wait_end();
        self.said.extend(recorder.stderr());
        let is_full = self.has(|ending| matches!(ending, Ending::MakeRoom { .. }));
        assert!(status.success() || is_full, "{status}\n{}", recorder.said());
        self.ended(asked, !status.success());
        let crashed = !status.success();
        self.later(
            1,
            700,
            Ending::Start {
                since: asked,
                crashed,
            },
        );
    }

    fn ended(&mut self, asked: u64, crashed: bool) {
        let run = self.stage.chronicle.runs.last_mut().unwrap();
        let ended = clock::monotonic();
        // What one that crashed did not tell lies in a hole, up to its very end.
        run.asked = if crashed { ended } else { asked };
        (run.ended, run.crashed) = (ended, crashed);
    }

    /// A stopped process that is killed need not be continued; one that is ended must be.
    fn forget_stop(&mut self) {
        let is_stop = |ending: &Ending| matches!(ending, Ending::Continue { .. });
        if let Some(at) = self.endings.iter().position(|(_, ending)| is_stop(ending)) {
            self.bring_about(at);
        }
    }

    fn stop(&mut self) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        if !self.is_stopped() {
            let since = clock::monotonic();
            recorder.halt();
            self.later(300, self.plan.stop_ms, Ending::Continue { since });
        }
    }

    fn reload(&mut self) {
        if let Some(recorder) = &self.recorder {
            let since = clock::monotonic();
            recorder.signal(Signal::HUP);
            self.stage.chronicle.note(Fault::Reloaded, since);
        }
    }

    fn rotate(&mut self) {
        let ways = [
            Rotation::Rename,
            Rotation::RenameAndCreate,
            Rotation::LinkAndDelete,
        ];
        let how = ways[self.dice.roll(ways.len())];
        let since = clock::monotonic();
        let at = self.dice.roll(self.stage.logs.len());
        self.stage.logs[at].rotate(how);
        self.stage.chronicle.note(Fault::Rotated, since);
    }

    fn clean(&mut self) {
        let is_hindered = self.is_stopped()
            || self.recorder.is_none()
            || self.has(|ending| matches!(ending, Ending::MakeRoom { .. }));
        if is_hindered {
            return;
        }
        let since = clock::monotonic();
        let at = self.dice.roll(self.stage.logs.len());
        let elsewhere = self.stage.records.clone();
        if let Some(time) = self.stage.logs[at].before_a_clean(&elsewhere) {
            let group = self.stage.groups[at];
            let keep = format!(">={time}");
            self.stage
                .home
                .ok(&["clean", group, "-t", &keep, "-s", ">=1TB"]);
            self.stage.chronicle.note(Fault::Clean, since);
        }
    }

    fn fill_the_disk(&mut self) {
        if !self.has(|ending| matches!(ending, Ending::MakeRoom { .. })) {
            let since = clock::monotonic();
            self.stage.fill();
            self.later(300, self.plan.full_ms, Ending::MakeRoom { since });
        }
    }

    /// Subscribers that never read.
    fn be_deaf(&mut self) {
        let is_deaf = self.has(|ending| matches!(ending, Ending::Hear { .. }));
        if is_deaf || self.recorder.is_none() {
            return;
        }
        let since = clock::monotonic();
        let mut deaf = Vec::new();
        for _ in 0..=self.dice.roll(4) {
            if let Ok(mut stream) = UnixStream::connect(&self.stage.home.socket)
                && stream.write_all(b"cmd = \"subscribe\"\n\n").is_ok()
            {
                deaf.push(stream);
            }
        }
        let mut tail = self.stage.home.command(&["tail", "_global"]);
        let tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        self.later(
            500,
            4000,
            Ending::Hear {
                since,
                deaf,
                tail: tail.ok(),
            },
        );
    }

    fn kill_a_worker(&mut self) {
        let since = clock::monotonic();
        let alive: Vec<usize> = (0..self.stage.lives.len())
            .filter(|at| self.stage.lives[*at].child.is_some())
            .collect();
        if !alive.is_empty() {
            let at = alive[self.dice.roll(alive.len())];
            let life = &mut self.stage.lives[at];
            life.is_killed = true;
            if let Some(child) = &mut life.child {
                child.kill().unwrap();
            }
            self.stage.chronicle.note(Fault::WorkerKilled, since);
        }
    }

    fn change_a_watch(&mut self) {
        let (group, root) = (
            self.dice.roll(self.stage.groups.len()),
            self.dice.roll(self.stage.roots.len()),
        );
        // A stopped recorder would keep the answer back; another time.
        let is_busy = |asked: &Asked| asked.group == group && asked.root == root;
        if self.is_stopped() || self.asked.iter().any(is_busy) {
            return;
        }
        let (name, at) = (
            self.stage.groups[group],
            self.stage.roots[root].inside.clone(),
        );
        let path = at.to_str().unwrap();
        let on = !self.stage.is_watched(group, root);
        let words: &[&str] = if on {
            &["add", name, "-r", "--path", path]
        } else {
            &["remove", name, "--path", path]
        };
        let since = clock::monotonic();
        let mut command = self.stage.home.command(words);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.asked.push(Asked {
            child,
            since,
            group,
            root,
            on,
        });
    }

    fn hear_answers(&mut self) {
        let mut waiting = Vec::new();
        for mut asked in std::mem::take(&mut self.asked) {
            match asked.child.try_wait().unwrap() {
                None => waiting.push(asked),
                Some(status) => {
                    self.stage
                        .answered(asked.group, asked.root, asked.on, asked.since);
                    if !status.success() {
                        let mut said = String::new();
                        let pipe = asked.child.stderr.as_mut().unwrap();
                        std::io::Read::read_to_string(pipe, &mut said).unwrap();
                        // A daemon that ends before it has answered cannot be asked any more.
                        let last = self.stage.chronicle.runs.last();
                        let has_ended = last
                            .is_none_or(|run| run.spawned > asked.since || run.ended != u64::MAX);
                        if !(has_ended && said.contains("it closed without an answer")) {
                            self.said.push(format!("asked {asked:?}: {status}: {said}"));
                        }
                    }
                }
            }
        }
        self.asked = waiting;
    }

    /// A filesystem that comes below a watched path, is worked on, and goes.
    fn mount(&mut self) {
        if self.guest.is_some() || self.recorder.is_none() {
            return;
        }
        let roots = 0..self.stage.roots.len();
        let watched: Vec<usize> = roots
            .filter(|root| self.stage.is_watched(0, *root))
            .collect();
        if watched.is_empty() {
            return;
        }
        let root = watched[self.dice.roll(watched.len())];
        self.next += 1;
        self.guest = Some(Guest::arrives(
            self.stage,
            root,
            self.next,
            self.dice.roll(2) == 0,
        ));
    }

    fn tend_guest(&mut self) {
        let Some(mut guest) = self.guest.take() else {
            return;
        };
        if guest.is_to_be_worked_on(self.stage) {
            self.next += 1;
            let dir = guest.point.join(format!("e{}", self.next));
            let job = Job::Edit {
                dir,
                seed: self.next,
                steps: 400,
            };
            guest.life = Some(self.stage.lives.len());
            self.employ(job, (0, 0), 2, Vec::new(), false);
        }
        if !guest.leaves(self.stage) {
            self.guest = Some(guest);
        }
    }

    /// Sees who of the crew has ended, and takes on others.
    fn hire(&mut self) {
        self.stage.look_after();
        for root in 0..self.stage.roots.len() {
            for job in ["storm", "churn", "edit", "start"] {
                let is_weak = self.stage.roots[root].is_weak;
                if (is_weak && job == "storm") || self.stage.is_at_work(root, job) {
                    continue;
                }
                self.next += 1;
                let number = self.next;
                let uid = if job == "start" {
                    0
                } else {
                    USERS[self.dice.roll(USERS.len())]
                };
                let steps = 300 + self.dice.roll(2500);
                let (job, leaves) = self.stage.job(root, job, number, steps, uid);
                let seconds = 2 + self.dice.roll(20) as u64;
                self.employ(job, (uid, self.plan.rate), seconds, leaves, is_weak);
            }
        }
        if self.dice.roll(40) == 0 {
            self.next += 1;
            let root = self.dice.roll(self.stage.roots.len());
            let is_weak = self.stage.roots[root].is_weak;
            let (job, leaves) = self.stage.job(root, "rmrf", self.next, 0, 0);
            self.employ(job, (0, self.plan.burst), 60, leaves, is_weak);
        }
    }

    fn employ(
        &mut self,
        job: Job,
        (uid, rate): (u32, usize),
        seconds: u64,
        leaves: Vec<PathBuf>,
        lacks_self: bool,
    ) {
        let record = self.stage.records.join(self.stage.lives.len().to_string());
        let comm = self.stage.comm_of(&job);
        let until = self.until.min(clock::monotonic() + seconds * SECOND);
        let program = self.stage.programs.join(&comm);
        let child = crew::hire(&program, &job, &record, Pace { until, rate }, uid);
        self.stage.lives.push(Life {
            job,
            pid: child.id(),
            ppid: std::process::id(),
            comm,
            uid,
            record,
            lacks_self,
            leaves,
            child: Some(child),
            is_killed: false,
        });
    }

    /// The clock is set and CPUs are put offline in the last third only: what comes later in a log than
    /// that can no longer be held against times.
    fn set_the_machine(&mut self) {
        let third = self.begin + (self.until - self.begin) / 3 * 2;
        let is_set = self.has(|ending| matches!(ending, Ending::Restore { .. }));
        let now = clock::monotonic();
        if !self.plan.machine || now < third || now + 8 * SECOND > self.until || is_set {
            return;
        }
        let since = clock::monotonic();
        let machine = if self.dice.roll(2) == 0 {
            let seconds = self.dice.roll(150).cast_signed() as i64 - 75;
            self.stage.chronicle.clock_set.get_or_insert(since);
            Some(machine::set_clock(seconds * 1_000_000_000 + 500_000_000))
        } else {
            machine::cpu_offline()
        };
        if let Some(machine) = machine {
            self.stage.chronicle.note_offset();
            self.later(400, 3000, Ending::Restore { since, machine });
        }
    }

    fn end_what_is_due(&mut self, now: u64) {
        while let Some(at) = self.endings.iter().position(|(due, _)| *due <= now) {
            self.bring_about(at);
        }
    }

    fn bring_about(&mut self, at: usize) {
        let (_, ending) = self.endings.swap_remove(at);
        match ending {
            Ending::Continue { since } => {
                if let Some(recorder) = &self.recorder {
                    recorder.signal(Signal::CONT);
                }
                self.stage.chronicle.note(Fault::Stopped, since);
            }
            Ending::Start { since, crashed } => {
                self.start();
                let fault = if crashed { Fault::Down } else { Fault::Ended };
                self.stage.chronicle.note(fault, since);
            }
            Ending::MakeRoom { since } => {
                self.stage.make_room();
                self.stage.chronicle.note(Fault::DiskFull, since);
            }
            Ending::Hear { since, deaf, tail } => {
                drop(deaf);
                if let Some(mut tail) = tail {
                    tail.kill().ok();
                    tail.wait().ok();
                }
                self.stage.chronicle.note(Fault::Deaf, since);
            }
            Ending::Restore { since, machine } => {
                let fault = machine.fault();
                drop(machine);
                self.stage.chronicle.note_offset();
                self.stage.chronicle.note(fault, since);
            }
        }
    }

    /// Lets everything come to its end, and the recorder too.
    fn finish(&mut self) {
        while !self.endings.is_empty() {
            self.bring_about(0);
        }
        while !self.asked.is_empty() || self.guest.is_some() {
            self.hear_answers();
            self.tend_guest();
            let_pass(Duration::from_millis(4));
        }
        self.stage.wait_for_all();
        let mut recorder = self.recorder.take().unwrap();
        let asked = clock::monotonic();
        recorder.signal(Signal::TERM);
        let status = recorder.wait_end();
        self.said.extend(recorder.stderr());
        assert!(status.success(), "{status}\n{}", recorder.said());
        self.ended(asked, false);
    }
}
