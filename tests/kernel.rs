//! The real daemon on real filesystems, against ground truth. Needs root.
//!
//! Each test does operations itself, remembers each, and the log must show exactly those. Tests are
//! named scenario::filesystem and can run alone. Without root they are listed as ignored; with
//! `FSMON_TEST_ROOT=require` that, or a missing mkfs, is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and this is a program of its own"
)]

#[path = "kernel/actor.rs"]
mod actor;
#[path = "kernel/alerts.rs"]
mod alerts;
#[path = "kernel/attack.rs"]
mod attack;
#[path = "kernel/bursts.rs"]
mod bursts;
#[path = "kernel/chaos.rs"]
mod chaos;
#[path = "kernel/churn.rs"]
mod churn;
#[path = "kernel/deeds.rs"]
mod deeds;
#[path = "kernel/deny.rs"]
mod deny;
#[path = "kernel/doctor.rs"]
mod doctor;
#[path = "kernel/downtime.rs"]
mod downtime;
#[path = "kernel/edges.rs"]
mod edges;
#[path = "kernel/flood.rs"]
mod flood;
#[path = "kernel/gate.rs"]
mod gate;
#[path = "kernel/ground.rs"]
mod ground;
#[path = "kernel/groups.rs"]
mod groups;
#[path = "kernel/hooks.rs"]
mod hooks;
#[path = "kernel/jobs.rs"]
mod jobs;
#[path = "kernel/kinds.rs"]
mod kinds;
#[path = "kernel/late.rs"]
mod late;
#[path = "kernel/layers.rs"]
mod layers;
#[path = "kernel/life.rs"]
mod life;
#[path = "kernel/lines.rs"]
mod lines;
#[path = "kernel/links.rs"]
mod links;
#[path = "kernel/live.rs"]
mod live;
#[path = "kernel/logs.rs"]
mod logs;
#[path = "kernel/migration.rs"]
mod migration;
#[path = "kernel/nasty.rs"]
mod nasty;
#[path = "kernel/plans.rs"]
mod plans;
#[path = "kernel/policies.rs"]
mod policies;
#[path = "kernel/processes.rs"]
mod processes;
#[path = "kernel/programs.rs"]
mod programs;
#[path = "kernel/recorder.rs"]
mod recorder;
#[path = "kernel/rights.rs"]
mod rights;
#[path = "kernel/rmrf.rs"]
mod rmrf;
#[path = "kernel/rotations.rs"]
mod rotations;
#[path = "kernel/scopes.rs"]
mod scopes;
#[path = "kernel/service.rs"]
mod service;
#[path = "kernel/socket.rs"]
mod socket;
#[path = "kernel/storm.rs"]
mod storm;
#[path = "kernel/trees.rs"]
mod trees;
#[path = "kernel/trims.rs"]
mod trims;
#[path = "kernel/truth.rs"]
mod truth;
#[path = "kernel/unit.rs"]
mod unit;
#[path = "kernel/verify.rs"]
mod verify;
#[path = "kernel/wait.rs"]
mod wait;
#[path = "kernel/watch.rs"]
mod watch;
#[path = "kernel/who.rs"]
mod who;
#[path = "kernel/workers.rs"]
mod workers;

use std::env;
use std::fs;
use std::process::ExitCode;
use std::sync::{Arc, RwLock};

use libtest_mimic::{Arguments, Trial};

use ground::Fs;

fn main() -> ExitCode {
    if jobs::is_worker() || chaos::is_one_of_it() {
        return ExitCode::SUCCESS;
    }
    // Others must be able to read what tests make for them, whoever starts these.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut arguments = Arguments::from_args();
    if arguments.test_threads.is_none() {
        // One: a program started by another thread inherits, until its exec, the files that this one
        // has open, and then the last close of such a file is not the test's.
        arguments.test_threads = Some(1);
    }
    let mut suite = Suite::default();
    churn::list(&mut suite);
    flood::list(&mut suite);
    rmrf::list(&mut suite);
    storm::list(&mut suite);
    nasty::list(&mut suite);
    edges::list(&mut suite);
    kinds::list(&mut suite);
    links::list(&mut suite);
    scopes::list(&mut suite);
    groups::list(&mut suite);
    who::list(&mut suite);
    programs::list(&mut suite);
    late::list(&mut suite);
    trees::list(&mut suite);
    rights::list(&mut suite);
    service::list(&mut suite);
    logs::list(&mut suite);
    rotations::list(&mut suite);
    trims::list(&mut suite);
    socket::list(&mut suite);
    live::list(&mut suite);
    verify::list(&mut suite);
    attack::list(&mut suite);
    downtime::list(&mut suite);
    watch::list(&mut suite);
    doctor::list(&mut suite);
    alerts::list(&mut suite);
    bursts::list(&mut suite);
    hooks::list(&mut suite);
    policies::list(&mut suite);
    layers::list(&mut suite);
    life::list(&mut suite);
    processes::list(&mut suite);
    gate::list(&mut suite);
    deny::list(&mut suite);
    migration::list(&mut suite);
    if env::var_os("FSMON_TEST_CHAOS").is_some() {
        suite.tools("chaos", &["mkfs.ext4"], chaos::short);
    }
    if !arguments.list && suite.is_root {
        ground::sweep();
        late::restore_pids();
    }
    libtest_mimic::run(&arguments, suite.trials).exit_code()
}

/// The tests, and what this machine has for them.
struct Suite {
    trials: Vec<Trial>,
    is_root: bool,
    required: bool,
    /// Held for reading by each test, for writing by one that must run alone.
    turn: Arc<RwLock<()>>,
}

impl Default for Suite {
    fn default() -> Self {
        Self {
            trials: Vec::new(),
            is_root: rustix::process::geteuid().is_root(),
            required: env::var_os("FSMON_TEST_ROOT").is_some_and(|value| value == "require"),
            turn: Arc::default(),
        }
    }
}

impl Suite {
    /// A test on one kind of filesystem.
    fn on(&mut self, kind: Fs, scenario: &str, body: impl FnOnce(Fs) + Send + 'static) {
        let name = format!("{scenario}::{}", kind.name());
        self.add(name, &[kind.tool()], false, move || body(kind));
    }

    /// A test whose filesystem does not matter.
    fn one(&mut self, name: &str, body: fn()) {
        self.add(name.to_owned(), &["mount"], false, body);
    }

    /// A test that needs these programs.
    fn tools(&mut self, name: &str, tools: &[&'static str], body: fn()) {
        self.add(name.to_owned(), tools, false, body);
    }

    /// A test that measures, so that no other may run beside it.
    fn alone(&mut self, name: &str, tools: &[&'static str], body: impl FnOnce() + Send + 'static) {
        self.add(name.to_owned(), tools, true, body);
    }

    fn add(
        &mut self,
        name: String,
        tools: &[&'static str],
        alone: bool,
        body: impl FnOnce() + Send + 'static,
    ) {
        let lack = if self.is_root {
            tools.iter().find(|tool| !is_installed(tool))
        } else {
            Some(&"root")
        };
        let (required, turn) = (self.required, Arc::clone(&self.turn));
        let missing = lack.map(|lack| format!("needs {lack}"));
        let ignored = missing.is_some() && !required;
        let trial = Trial::test(name, move || {
            if let Some(missing) = missing {
                return Err(missing.into());
            }
            let held = if alone {
                (None, Some(turn.write()))
            } else {
                (Some(turn.read()), None)
            };
            body();
            drop(held);
            Ok(())
        });
        let kind = if ignored {
            lack.map_or(String::new(), |lack| format!("needs {lack}"))
        } else {
            String::new()
        };
        self.trials
            .push(trial.with_kind(kind).with_ignored_flag(ignored));
    }
}

fn is_installed(tool: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|folder| fs::metadata(format!("{folder}/{tool}")).is_ok())
}
