//! The table against a history that is kept whole and searched from the start.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Uids that no user database knows: their names are their numbers.
const FIRST_UID: u32 = 4_000_000_000;

#[derive(Clone, Debug)]
enum Step {
    Fork { parent: u32, child: u32 },
    Exec { pid: u32, name: u32 },
    Rename { pid: u32, name: u32 },
    User { pid: u32, uid: u32 },
    Exit { pid: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pid = 1..12u32;
    let step = prop_oneof![
        4 => (pid.clone(), pid.clone()).prop_map(|(parent, child)| Step::Fork { parent, child }),
        3 => (pid.clone(), 0..20u32).prop_map(|(pid, name)| Step::Exec { pid, name }),
        1 => (pid.clone(), 0..20u32).prop_map(|(pid, name)| Step::Rename { pid, name }),
        2 => (pid.clone(), 0..5u32).prop_map(|(pid, uid)| Step::User { pid, uid }),
        3 => pid.prop_map(|pid| Step::Exit { pid }),
    ];
    prop::collection::vec(step, 0..120)
}

#[derive(Clone, Debug)]
struct State {
    since: u64,
    comm: String,
    uid: u32,
}

#[derive(Debug)]
struct Life {
    pid: u32,
    parent: Option<usize>,
    born: u64,
    states: Vec<State>,
}

impl Life {
    fn at(&self, when: u64) -> &State {
        let known = self.states.iter().rfind(|state| state.since <= when);
        known.unwrap_or(&self.states[0])
    }
}

/// All that ever was.
#[derive(Debug, Default)]
struct History {
    lives: Vec<Life>,
    alive: BTreeMap<u32, usize>,
    records: Vec<ProcRecord>,
}

impl History {
    fn new(steps: &[Step]) -> Self {
        let mut history = Self::default();
        let state = |since| State {
            since,
            comm: "init".into(),
            uid: FIRST_UID,
        };
        history.lives.push(Life {
            pid: 1,
            parent: None,
            born: 0,
            states: vec![state(0)],
        });
        history.alive.insert(1, 0);
        for (n, step) in steps.iter().enumerate() {
            history.step(step, (n as u64 + 2) * 10 * MS);
        }
        history
    }

    fn step(&mut self, step: &Step, time: u64) {
        match *step {
            Step::Fork { parent, child } => {
                let Some(&parent_life) = self.alive.get(&parent) else {
                    return;
                };
                if self.alive.contains_key(&child) {
                    return;
                }
                let mut first = self.lives[parent_life].at(time).clone();
                first.since = time;
                self.alive.insert(child, self.lives.len());
                self.lives.push(Life {
                    pid: child,
                    parent: Some(parent_life),
                    born: time,
                    states: vec![first],
                });
                self.records.push(fork(time, child, parent));
            }
            Step::Exec { pid, name } => self.change(pid, time, |state| {
                state.comm = format!("exec{name}");
                exec(time, pid, &state.comm)
            }),
            Step::Rename { pid, name } => self.change(pid, time, |state| {
                state.comm = format!("name{name}");
                rename(time, pid, &state.comm)
            }),
            Step::User { pid, uid } => self.change(pid, time, |state| {
                state.uid = FIRST_UID + uid;
                euid(time, pid, state.uid)
            }),
            Step::Exit { pid } => {
                if pid != 1 && self.alive.remove(&pid).is_some() {
                    self.records.push(exit(time, pid));
                }
            }
        }
    }

    fn change(&mut self, pid: u32, time: u64, change: impl FnOnce(&mut State) -> ProcRecord) {
        let Some(&life) = self.alive.get(&pid) else {
            return;
        };
        let mut state = self.lives[life].at(time).clone();
        state.since = time;
        self.records.push(change(&mut state));
        self.lives[life].states.push(state);
    }

    fn life(&self, pid: u32, when: u64) -> Option<&Life> {
        self.lives
            .iter()
            .rfind(|life| life.pid == pid && life.born <= when)
    }

    fn chain(&self, life: &Life, when: u64) -> String {
        let state = life.at(when);
        let own = format!("{}|{}|{}", life.pid, state.comm, state.uid);
        match life.parent {
            Some(parent) => format!("{own};{}", self.chain(&self.lives[parent], life.born)),
            None => own,
        }
    }

    fn belongs(&self, life: &Life, when: u64, group: &str) -> bool {
        let mut at = Some(life);
        while let Some(here) = at {
            let mut states = here.states.iter();
            if states.any(|state| state.since <= when && state.comm == group) {
                return true;
            }
            at = here.parent.map(|parent| &self.lives[parent]);
        }
        false
    }

    fn load(&self, limits: ProcLimits) -> ProcTable {
        let mut table = ProcTable::new(limits);
        apply(&mut table, &[exec(0, 1, "init"), euid(0, 1, FIRST_UID)]);
        table.assume_seen(1);
        apply(&mut table, &self.records);
        table
    }
}

proptest! {
    #[test]
    fn every_process_is_known_at_every_time(steps in steps()) {
        let history = History::new(&steps);
        let mut table = history.load(ProcLimits::default());
        for time in 0..steps.len() as u64 + 3 {
            let when = time * 10 * MS + 5;
            for pid in 1..12 {
                let Some(life) = history.life(pid, when) else {
                    continue;
                };
                let who = table.at(pid, when).unwrap();
                let state = life.at(when);
                let parent = life.parent.map_or(0, |at| history.lives[at].pid);
                prop_assert_eq!(&*who.comm, &*state.comm);
                prop_assert_eq!(&*who.user, state.uid.to_string());
                prop_assert_eq!(who.ppid, parent);
                prop_assert_eq!(who.attribution, Attribution::Exact);
                prop_assert_eq!(table.chain_of(&who), history.chain(life, when));
                for group in ["init", "exec1", "exec2", "name3"] {
                    let expected = history.belongs(life, when, group);
                    prop_assert_eq!(table.belongs(&who, group), expected);
                }
            }
        }
    }

    #[test]
    fn the_living_keep_their_ancestors_when_the_dead_are_forgotten(steps in steps()) {
        let history = History::new(&steps);
        let mut table = history.load(ProcLimits { max_dead: 3, ..ProcLimits::default() });
        let now = 3_600_000 * MS;
        table.forget(now);
        for &life in history.alive.values() {
            let life = &history.lives[life];
            prop_assert_eq!(table.chain(life.pid, now), history.chain(life, now));
        }
        let mut needed = std::collections::BTreeSet::new();
        for &life in history.alive.values() {
            let mut at = Some(life);
            while let Some(here) = at {
                needed.insert(here);
                at = history.lives[here].parent;
            }
        }
        let stats = table.stats();
        prop_assert_eq!(stats.alive, history.alive.len());
        prop_assert_eq!(stats.alive + stats.dead, needed.len());
    }
}
