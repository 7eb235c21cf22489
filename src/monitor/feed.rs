//! Keeps the kernel's queues empty: reads the groups and the process feeds into memory of our own.
//!
//! [`Feed::drain`] may be called from any thread; what it reads is queued in one order. The groups
//! are read first and the process feeds behind them: whatever a process did before an event is then
//! in hand when the event is attributed.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::event::WallTime;
use crate::fid_parser::{bits, wire};
use crate::pipeline::{Batch, Loss};
use crate::proc_cache::{ProcChange, ProcFeed, ProcRecord};
use crate::socket::health::Queues;
use crate::sys::clock;
use crate::sys::epoll::PollSet;
use crate::sys::fanotify::Group;

/// The groups, the process feeds, and what was read from them.
#[derive(Debug)]
pub struct Feed {
    poll: PollSet,
    inner: Mutex<Inner>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug)]
struct Came {
    /// There is enough to work on.
    something: bool,
    /// There is more than openings of programs.
    hurry: bool,
}

#[derive(Debug)]
struct Inner {
    groups: Vec<Option<Arc<Group>>>,
    processes: Option<ProcFeed>,
    queue: Vec<Batch>,
    /// Where in the queue each round of reads ended, at which the kernel's queues were seen empty.
    rounds: Vec<usize>,
    /// Bytes queued, and bytes handed out that are not yet done with.
    held: usize,
    ceiling: usize,
    buffer: Vec<u8>,
    losing: Option<Loss>,
    /// Up to when something was lost for the last time.
    lost_until: WallTime,
    most_held: usize,
    /// When all queues were last seen empty.
    empty_at: u64,
    drained_at: Option<Instant>,
    /// Something came that somebody may wait for.
    hurry: bool,
    /// Records about processes that wait in the queue.
    kept_back: usize,
    /// Somebody wants to be told of the openings of programs.
    tells_execs: bool,
    /// When it was last looked for new CPUs, and what the rings on them said first.
    from_new_cpus: Vec<ProcRecord>,
}

impl Feed {
    /// Makes a feed that holds at most about `ceiling` bytes of records.
    pub fn new(ceiling: usize, buffer: usize, processes: Option<ProcFeed>) -> io::Result<Self> {
        let poll = PollSet::new()?;
        for fd in processes.iter().flat_map(|feed| feed.poll_fds()) {
            poll.add(fd)?;
        }
        let inner = Inner {
            groups: Vec::new(),
            processes,
            queue: Vec::new(),
            rounds: Vec::new(),
            held: 0,
            ceiling,
            buffer: vec![0; buffer],
            losing: None,
            lost_until: WallTime(i64::MIN),
            most_held: 0,
            empty_at: clock::monotonic(),
            drained_at: None,
            hurry: false,
            kept_back: 0,
            tells_execs: false,
            from_new_cpus: Vec::new(),
        };
        Ok(Self {
            poll,
            inner: Mutex::new(inner),
        })
    }

    /// Adds a group and returns its number, which its batches carry.
    pub fn add_group(&self, group: Arc<Group>) -> io::Result<u16> {
        self.poll.add(group.as_fd())?;
        let mut inner = self.lock();
        let number = inner
            .groups
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                inner.groups.push(None);
                inner.groups.len() - 1
            });
        inner.groups[number] = Some(group);
        u16::try_from(number).map_err(io::Error::other)
    }

    /// Says whether openings of programs are to be told, and not only to be used.
    pub fn tell_execs(&self, wanted: bool) {
        self.lock().tells_execs = wanted;
    }

    /// Ends a group.
    pub fn remove_group(&self, number: u16) {
        if let Some(group) = self.lock().groups.get_mut(usize::from(number)) {
            *group = None;
        }
    }

    /// Waits until something can be read, lets more gather for a while if the last was not long ago,
    /// and reads it.
    ///
    /// Reading at every wake-up costs the reader four times and the watched processes twice as much
    /// as letting a millisecond of events gather; a lone event is read at once.
    fn wait_and_drain(&self, delay: Option<Duration>, gather: Duration) -> io::Result<Came> {
        self.poll.wait()?;
        let last = self.lock().drained_at;
        let is_busy = last.is_some_and(|last| last.elapsed() < BUSY + gather);
        if let Some(pause) = delay.or_else(|| is_busy.then_some(gather)) {
            std::thread::park_timeout(pause);
        }
        self.drain_all()
    }

    /// Reads until every queue is empty; says whether anything came.
    pub fn drain(&self) -> io::Result<bool> {
        self.drain_all().map(|came| came.something)
    }

    fn drain_all(&self) -> io::Result<Came> {
        let mut inner = self.lock();
        let first = inner.queue.len();
        inner.hurry = false;
        // Taken before the reads that find the queues empty: no later event is older.
        let mut looked = clock::monotonic();
        for number in 0..inner.groups.len() {
            let Some(group) = inner.groups[number].clone() else {
                continue;
            };
            while let Some(len) = inner.read(&group)? {
                inner.keep(number as u16, len);
                if number == 0 {
                    looked = clock::monotonic();
                }
            }
        }
        inner.empty_at = looked;
        inner.follow_cpus(&self.poll)?;
        inner.drain_processes(first)?;
        let end = inner.queue.len();
        if end > first {
            inner.rounds.push(end);
        }
        inner.drained_at = Some(Instant::now());
        Ok(Came {
            something: inner.hurry || inner.kept_back > KEPT_BACK,
            hurry: inner.hurry,
        })
    }

    /// Hands out what was read; a loss stands at its place in the stream.
    pub fn take(&self, into: &mut Vec<Batch>) {
        let mut inner = self.lock();
        inner.hand_out(into);
    }

    /// Rounds of reads that wait to be taken.
    pub fn rounds(&self) -> usize {
        self.lock().rounds.len()
    }

    /// Hands out whole rounds of reads until they hold `enough` bytes; says how many.
    ///
    /// What the kernel merged is told apart by the rest of its round, so none is cut.
    pub fn take_rounds(&self, enough: usize, into: &mut Vec<Batch>) -> usize {
        let mut inner = self.lock();
        let is_losing = inner.losing.is_some();
        match enough_rounds(&inner.queue, is_losing, &inner.rounds, enough) {
            Some(count) if count < inner.rounds.len() => {
                let end = inner.rounds[count - 1];
                into.extend(inner.queue.drain(..end));
                inner.rounds.drain(..count);
                inner.rounds.iter_mut().for_each(|other| *other -= end);
                count
            }
            _ => {
                let count = inner.rounds.len();
                inner.hand_out(into);
                count
            }
        }
    }

    /// Says that everything handed out is done with, so that its memory counts no longer.
    pub fn release(&self) {
        let mut inner = self.lock();
        inner.held = inner.queue.iter().map(|batch| batch.bytes.capacity()).sum();
    }

    /// How full the memory for events is, and how old the oldest is.
    pub fn fullness(&self) -> Queues {
        let inner = self.lock();
        let oldest = inner.queue.first().map(|batch| batch.mono);
        let age = oldest.map_or(0, |mono| clock::monotonic().saturating_sub(mono));
        let processes = inner.processes.as_ref();
        let rings = processes.and_then(ProcFeed::ring_bytes);
        Queues {
            ring_most_bytes: processes.map_or(0, ProcFeed::most_waiting),
            ring_bytes: rings.map_or(0, |(smallest, _)| smallest as u64),
            held_bytes: inner.held as u64,
            held_most_bytes: inner.most_held as u64,
            oldest_ms: age / 1_000_000,
            ..Queues::default()
        }
    }

    /// The most bytes that were ever held.
    pub fn most_held(&self) -> usize {
        self.lock().most_held
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every field is valid between any two statements that could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hand_out(&mut self, into: &mut Vec<Batch>) {
        self.kept_back = 0;
        self.rounds.clear();
        into.append(&mut self.queue);
        if let Some(loss) = self.losing.take() {
            into.push(Batch {
                lost: Some(loss),
                wall: loss.until,
                mono: clock::monotonic(),
                ..Batch::default()
            });
        }
    }

    fn read(&mut self, group: &Group) -> io::Result<Option<usize>> {
        group.read(&mut self.buffer)
    }

    fn keep(&mut self, group: u16, len: usize) {
        let only_programs = wire::masks(&self.buffer[..len]).all(|mask| mask == bits::OPEN_EXEC);
        self.hurry |= self.tells_execs || !only_programs;
        self.kept_back += 1;
        let wall = WallTime(clock::realtime());
        // A full buffer is handed over as it is; a small read is copied, so that it holds no more than it needs.
        let needs = if len * 2 > self.buffer.len() {
            self.buffer.len()
        } else {
            len
        };
        if !self.has_room(needs) {
            let lost = wire::records(&self.buffer[..len]).count() as u64;
            let cause = "reader too slow: the memory for unread events was full";
            // What is lost has waited in the kernel for as long as nobody looked: it can have happened at any time
            // since the queue was last empty, or since what was lost before it.
            let waited = clock::monotonic().saturating_sub(self.empty_at);
            let empty = WallTime(wall.0.saturating_sub_unsigned(waited));
            let losing = self.losing.get_or_insert_with(|| Loss {
                count: Some(0),
                since: empty.max(self.lost_until.min(wall)),
                until: wall,
                cause,
            });
            losing.count = losing.count.map(|count| count + lost);
            losing.until = wall;
            self.lost_until = wall;
            return;
        }
        if let Some(loss) = self.losing.take() {
            let mono = clock::monotonic();
            self.queue.push(Batch {
                lost: Some(loss),
                wall: loss.until,
                mono,
                ..Batch::default()
            });
        }
        let bytes = if needs == len {
            self.buffer[..len].to_vec()
        } else {
            let size = self.buffer.len();
            let mut full = std::mem::replace(&mut self.buffer, vec![0; size]);
            full.truncate(len);
            full
        };
        self.held += bytes.capacity();
        self.most_held = self.most_held.max(self.held);
        self.queue.push(Batch {
            group,
            bytes,
            from: self.empty_at,
            mono: clock::monotonic(),
            wall,
            ..Batch::default()
        });
    }

    /// Whether a buffer can be kept. Once something was lost, more is lost until half of the memory is
    /// free again: one long hole is easier to deal with than many short ones.
    fn has_room(&self, needs: usize) -> bool {
        let limit = if self.losing.is_some() {
            self.ceiling / 2
        } else {
            self.ceiling
        };
        self.held == 0 || self.held + needs <= limit
    }

    /// Opens rings on CPUs that came online since the last look.
    fn follow_cpus(&mut self, poll: &PollSet) -> io::Result<()> {
        let Some(processes) = &mut self.processes else {
            return Ok(());
        };
        if processes.follow_cpus(&mut self.from_new_cpus)? {
            for fd in processes.poll_fds() {
                match poll.add(fd) {
                    // It was there before.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Reads what processes did meanwhile and puts it before the first batch of this drain.
    fn drain_processes(&mut self, first: usize) -> io::Result<()> {
        let Some(processes) = &mut self.processes else {
            return Ok(());
        };
        let mut records = std::mem::take(&mut self.from_new_cpus);
        processes.drain(&mut records);
        if records.is_empty() {
            return Ok(());
        }
        let lost = |record: &ProcRecord| matches!(record.what, ProcChange::Lost { .. });
        self.hurry |= records.iter().any(lost);
        self.kept_back += records.len();
        match self.queue[first..]
            .iter_mut()
            .find(|batch| batch.lost.is_none())
        {
            Some(batch) => batch.procs = records,
            None => {
                let wall = WallTime(clock::realtime());
                self.queue.push(Batch {
                    mono: clock::monotonic(),
                    wall,
                    procs: records,
                    ..Batch::default()
                });
            }
        }
        Ok(())
    }
}

/// Reads whenever something comes, on a thread of its own, until reading fails; `wake` is called
/// when there is work.
pub fn pump(feed: &Feed, delay: Option<Duration>, wake: impl Fn()) -> io::Error {
    let mut gather = GATHER;
    loop {
        match feed.wait_and_drain(delay, gather) {
            Ok(Came { something, hurry }) => {
                if something {
                    wake();
                }
                gather = if hurry { GATHER } else { GATHER_PROGRAMS };
            }
            Err(error) => return error,
        }
    }
}

/// Two wake-ups within this time mean that more is coming.
const BUSY: Duration = Duration::from_millis(3);
/// How long events gather then.
const GATHER: Duration = Duration::from_millis(1);
/// How long while programs are started and nothing else happens.
const GATHER_PROGRAMS: Duration = Duration::from_millis(5);
/// So many records about processes are kept back, as long as nothing else comes.
const KEPT_BACK: usize = 4096;

/// How many whole rounds of reads hold `enough` bytes.
///
/// A loss is handed out with what stands in front of it, to whose records the kernel may have added something of it.
/// It stands in the queue once there was room again; until then, and in the queue in front of it, there may be what
/// processes did meanwhile.
fn enough_rounds(
    queue: &[Batch],
    is_losing: bool,
    rounds: &[usize],
    enough: usize,
) -> Option<usize> {
    let (mut bytes, mut from) = (0, 0);
    let last = rounds.iter().position(|end| {
        let round = &queue[from..*end];
        bytes += round.iter().map(|batch| batch.bytes.len()).sum::<usize>();
        from = *end;
        let mut behind = queue[*end..].iter();
        let next = behind.find(|batch| batch.lost.is_some() || !batch.bytes.is_empty());
        let is_cut_by_loss = next.map_or(is_losing, |next| next.lost.is_some());
        bytes >= enough && !is_cut_by_loss
    });
    last.map(|last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_handed_out_with_what_stands_before_it() {
        let read = |bytes: usize| Batch {
            bytes: vec![0; bytes],
            ..Batch::default()
        };
        let loss = || Batch {
            lost: Some(Loss {
                count: None,
                since: WallTime(1),
                until: WallTime(2),
                cause: "no room",
            }),
            ..Batch::default()
        };
        let processes = Batch::default;
        let quiet = [read(5), read(5), read(5)];
        assert_eq!(enough_rounds(&quiet, false, &[1, 2, 3], 6), Some(2));
        assert_eq!(enough_rounds(&quiet, false, &[1, 3], 6), Some(2));
        assert_eq!(enough_rounds(&quiet, false, &[1, 2, 3], 16), None);
        // Noticed in the next round.
        let queue = [read(9), loss(), read(1), read(1)];
        assert_eq!(enough_rounds(&queue, false, &[1, 3, 4], 6), Some(2));
        assert_eq!(enough_rounds(&queue, false, &[2, 4], 6), Some(1));
        // Room again only after a round that brought nothing but what processes did.
        let queue = [read(9), processes(), loss(), read(1), read(1)];
        assert_eq!(enough_rounds(&queue, false, &[1, 2, 4, 5], 6), Some(3));
        // No room yet.
        let queue = [read(9), read(9), processes(), processes()];
        assert_eq!(enough_rounds(&queue, true, &[1, 2, 3, 4], 6), Some(1));
        assert_eq!(enough_rounds(&queue, true, &[2, 3, 4], 6), None);
        assert_eq!(enough_rounds(&queue, false, &[2, 3, 4], 6), Some(1));
    }
}
