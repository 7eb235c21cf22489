//! All that was done, out of the records of those who did it, and what the logs have to say of it.

use std::fs;
use std::path::PathBuf;

use crate::actor::{Actor, Witness};
use crate::truth::{Due, Need, Object, Truth};

use super::chronicle::Span;
use super::crew::{HALF, Job, Life, WHOLE, name_of};

/// Who did something.
#[derive(Clone, Debug)]
pub(crate) struct Doer {
    pub(crate) pid: u32,
    pub(crate) ppid: u32,
    pub(crate) comm: String,
    pub(crate) user: String,
    /// The name of the process that started it, if it is one of the crew.
    pub(crate) above: Option<String>,
    /// Which of the crew: what one did comes in order.
    pub(crate) line: usize,
}

/// An operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deed {
    pub(crate) doer: usize,
    /// Its number in its line.
    pub(crate) number: u32,
    pub(crate) span: Span,
    /// Whether it was done is not known: its process was killed.
    pub(crate) is_half: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) doers: Vec<Doer>,
    pub(crate) deeds: Vec<Deed>,
    pub(crate) dues: Vec<(usize, Due)>,
    /// Begins of the names of files whose makers were killed before anybody knew their pid.
    pub(crate) nameless: Vec<PathBuf>,
}

impl Ledger {
    pub(crate) fn of(lives: &[Life]) -> Self {
        let mut ledger = Self::default();
        for (line, life) in lives.iter().enumerate() {
            let record = fs::read(&life.record).unwrap();
            ledger.doers.push(Doer {
                pid: life.pid,
                ppid: life.ppid,
                comm: life.comm.clone(),
                user: name_of(life.uid),
                above: None,
                line,
            });
            match &life.job {
                Job::Start { .. } => ledger.read_short_lives(&record, life, line),
                job => ledger.replay(&record, job, life.lacks_self, line),
            }
        }
        ledger
    }

    /// Goes through the plan of a process, as far as it came.
    fn replay(&mut self, record: &[u8], job: &Job, lacks_self: bool, line: usize) {
        let times: Vec<u64> = record
            .chunks_exact(HALF)
            .map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap()))
            .collect();
        let is_half = !record.len().is_multiple_of(WHOLE);
        let count = times.len().div_ceil(2);
        let (sender, said) = std::sync::mpsc::channel();
        let reader = Reader {
            left: count,
            sender,
        };
        let mut book = Truth::of_single_operations();
        book.lacks_self = lacks_self;
        let doer = self.doers.len() - 1;
        let play = std::panic::AssertUnwindSafe(|| {
            job.play(&mut Actor::before(reader, Some(book)));
        });
        // The reader stops the play where the process was stopped.
        if let Err(why) = std::panic::catch_unwind(play)
            && why.downcast_ref::<Enough>().is_none()
        {
            std::panic::resume_unwind(why);
        }
        for (number, dues) in said.try_iter().enumerate() {
            let begun = times[2 * number];
            let done = times.get(2 * number + 1).copied();
            let deed = Deed {
                doer,
                number: number as u32,
                span: Span {
                    from: begun,
                    to: done.unwrap_or(u64::MAX),
                },
                is_half: is_half && done.is_none(),
            };
            self.enter(deed, line, dues);
        }
    }

    fn enter(&mut self, deed: Deed, line: usize, dues: Vec<Due>) {
        let at = self.deeds.len();
        self.deeds.push(deed);
        for mut due in dues {
            // Objects of different processes are different.
            due.object += line << 32;
            self.dues.push((at, due));
        }
    }

    fn read_short_lives(&mut self, record: &[u8], life: &Life, line: usize) {
        let text = str::from_utf8(record).unwrap();
        let mut rows = text.lines().peekable();
        let mut number = 0;
        while let Some(row) = rows.next() {
            let words: Vec<&str> = row.split(' ').collect();
            let ["b", file, uid, program, begun] = words[..] else {
                panic!("not the begin of a short life: {row}");
            };
            let pid = rows.next_if(|row| row.starts_with("p "));
            let done = rows.next_if(|row| row.starts_with("e "));
            let pid = pid.and_then(|row| row[2..].parse::<u32>().ok());
            let done = done.and_then(|row| row[2..].parse::<u64>().ok());
            let (Some(pid), Some(done)) = (pid, done) else {
                // Nobody knows how its file was called: a parent that was killed has no number in its name. What is
                // told of it is found by what is known.
                self.nameless.push(PathBuf::from(file));
                continue;
            };
            let comm = program.rsplit('/').next().unwrap();
            self.doers.push(Doer {
                pid,
                ppid: life.pid,
                comm: comm[..comm.len().min(15)].to_owned(),
                user: name_of(uid.parse().unwrap()),
                above: Some(life.comm.clone()),
                line,
            });
            let deed = Deed {
                doer: self.doers.len() - 1,
                number,
                span: Span {
                    from: begun.parse().unwrap(),
                    to: done,
                },
                is_half: false,
            };
            let path = format!("{file}.{pid}.{}.{uid}", life.pid).into_bytes();
            let due = |kind, need| Due {
                kind,
                path: path.clone(),
                other: None,
                object: number as Object,
                need: if life.lacks_self && matches!(kind, "ATTRIB" | "DELETE_SELF") {
                    Need::May
                } else {
                    need
                },
            };
            let dues = vec![
                due("CREATE", Need::Must),
                due("CLOSE_WRITE", Need::Some),
                due("ATTRIB", Need::Some),
                due("DELETE_SELF", Need::Must),
                due("DELETE", Need::Must),
            ];
            self.enter(deed, line, dues);
            number += 1;
        }
    }
}

/// Takes what each operation gives out of the book.
struct Reader {
    left: usize,
    sender: std::sync::mpsc::Sender<Vec<Due>>,
}

/// What is thrown to leave a plan in the middle of it.
struct Enough;

impl Witness for Reader {
    fn before(&mut self) {
        if self.left == 0 {
            std::panic::resume_unwind(Box::new(Enough));
        }
        self.left -= 1;
    }

    fn after(&mut self, book: Option<&mut Truth>) {
        let dues = book.map(Truth::take_dues).unwrap_or_default();
        self.sender.send(dues).unwrap();
    }
}
