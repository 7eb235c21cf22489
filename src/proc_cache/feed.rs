//! Where process records come from: a perf ring on each CPU and the proc connector.
//!
//! The order that the rest relies on: whoever reads fanotify first and drains this feed after
//! finds here everything that a process did before each of the events read.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use super::connector::{self, Connector, Wanted};
use super::cpus::Cpus;
use super::proc_fs;
use super::record::{ProcChange, ProcRecord};
use super::wire::SideBand;
use crate::sys::clock;
use crate::sys::perf::Ring;

/// The smallest ring that is tried when the locked-memory limit refuses the wanted one.
const SMALLEST_RING: usize = 64 << 10;

/// Ring room for 3,400 process lives, 300 ms at 11,000 a second.
const RING: usize = 512 << 10;

/// What to open.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// Whether perf rings may be used.
    pub perf: bool,
    /// Whether the proc connector may be used.
    pub connector: bool,
    /// Bytes of ring for each CPU, a power of two.
    pub ring_bytes: usize,
    /// Where /proc is mounted.
    pub proc_root: PathBuf,
    /// Where the list of online CPUs is.
    pub online_cpus: PathBuf,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            perf: true,
            connector: true,
            ring_bytes: RING,
            proc_root: PathBuf::from("/proc"),
            online_cpus: PathBuf::from("/sys/devices/system/cpu/online"),
        }
    }
}

/// How much can be known from the sources that could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// Every name and every user.
    Full,
    /// Every name; changes of user are not seen.
    NamesOnly,
    /// Births, deaths and users; names only of those that live long enough to be read in /proc.
    WithoutNames,
    /// Nothing but what /proc says when asked.
    Nothing,
}

/// What a source, or the lack of one, is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Births, names and ends of processes.
    Names,
    /// Changes of user.
    Users,
    /// The room for changes of user.
    Room,
    /// Which processes can be seen from here.
    Namespace,
}

/// A source of process records, or the lack of one.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is about.
    pub about: About,
    /// What is in force or missing, as a sentence.
    pub text: String,
    /// Processes will be known less well for it.
    pub is_lacking: bool,
}

/// What it means that perf is missing.
const WITHOUT_PERF: &str = "processes that end quickly are told as `unknown`";

/// The open sources.
#[derive(Debug)]
pub struct ProcFeed {
    options: FeedOptions,
    rings: Vec<OpenRing>,
    connector: Option<Connector>,
    /// Drained but younger than the last cut; see [`ProcFeed::drain`].
    held: Vec<ProcRecord>,
    side_band: SideBand,
    knowledge: Knowledge,
    sources: Vec<Source>,
    cpus: Cpus,
}

#[derive(Debug)]
struct OpenRing {
    ring: Ring,
    /// Everything up to here has been read, so a loss came after it.
    drained_at: u64,
}

impl ProcFeed {
    /// Opens what the kernel grants; what it refuses is told by [`ProcFeed::sources`].
    pub fn open(options: FeedOptions) -> io::Result<Self> {
        let mut feed = Self {
            rings: Vec::new(),
            connector: None,
            held: Vec::new(),
            side_band: SideBand::default(),
            knowledge: Knowledge::Nothing,
            sources: Vec::new(),
            cpus: Cpus::new(&options.online_cpus)?,
            options,
        };
        let named = feed.open_rings();
        feed.open_connector(named);
        feed.knowledge = match (named, &feed.connector) {
            (true, Some(_)) => Knowledge::Full,
            (true, None) => Knowledge::NamesOnly,
            (false, Some(_)) => Knowledge::WithoutNames,
            (false, None) => Knowledge::Nothing,
        };
        if !connector::in_first_pid_namespace() {
            feed.lacks(
                About::Namespace,
                "this is a pid namespace of its own: what processes outside of it do cannot be \
                 attributed and is told as `unknown`; run fsmon in the host's (--pid=host)"
                    .into(),
            );
        }
        Ok(feed)
    }

    fn open_rings(&mut self) -> bool {
        if !self.options.perf {
            self.lacks(
                About::Names,
                format!("process records: perf is switched off; {WITHOUT_PERF}"),
            );
            return false;
        }
        match self.rings_of(&self.cpus.online()) {
            Ok(rings) => {
                let count = rings.len();
                self.rings = rings;
                self.has(
                    About::Names,
                    format!("process records: perf rings on {count} CPUs"),
                );
                count > 0
            }
            Err(error) => {
                self.lacks(
                    About::Names,
                    format!(
                        "process records: perf refused ({error}); {WITHOUT_PERF}; CAP_SYS_ADMIN or \
                     CAP_PERFMON grants it, where a container's seccomp profile lets it pass"
                    ),
                );
                false
            }
        }
    }

    fn open_connector(&mut self, named: bool) {
        if !self.options.connector {
            self.lacks(
                About::Users,
                "changes of user: the proc connector is switched off".into(),
            );
            return;
        }
        let wanted = if named {
            Wanted::Users
        } else {
            Wanted::Everything
        };
        match Connector::open(wanted, clock::monotonic()) {
            Ok(connector) => {
                if let Some(error) = connector.small_buffer() {
                    self.lacks(
                        About::Room,
                        format!(
                            "proc connector: the receive buffer stays small ({error}), losses are \
                         likelier; CAP_NET_ADMIN makes it large"
                        ),
                    );
                }
                self.has(
                    About::Users,
                    match wanted {
                        Wanted::Users => "changes of user: proc connector".into(),
                        Wanted::Everything => "process records: proc connector and /proc".into(),
                    },
                );
                self.connector = Some(connector);
            }
            Err(error) => self.lacks(
                About::Users,
                format!(
                    "changes of user: proc connector refused ({error}); a process that changes its \
                 user is seen with the one it was born with; it takes the host's pid and network \
                 namespaces"
                ),
            ),
        }
    }

    fn rings_of(&self, cpus: &[u32]) -> io::Result<Vec<OpenRing>> {
        let now = clock::monotonic();
        let mut rings = Vec::with_capacity(cpus.len());
        for &cpu in cpus {
            let ring = open_ring(cpu, self.options.ring_bytes)?;
            rings.extend(ring.map(|ring| OpenRing {
                ring,
                drained_at: now,
            }));
        }
        Ok(rings)
    }

    /// The most bytes that ever waited in one of the rings.
    pub fn most_waiting(&self) -> u64 {
        let rings = self.rings.iter();
        rings
            .map(|open| open.ring.most_waiting())
            .max()
            .unwrap_or(0)
    }

    /// What is in force and what is not, one sentence each, for the start-up lines.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn has(&mut self, about: About, text: String) {
        self.sources.push(Source {
            about,
            text,
            is_lacking: false,
        });
    }

    fn lacks(&mut self, about: About, text: String) {
        self.sources.push(Source {
            about,
            text,
            is_lacking: true,
        });
    }

    /// The smallest of the rings, in bytes, and what it was to be; `None` without rings.
    pub fn ring_bytes(&self) -> Option<(usize, usize)> {
        let smallest = self.rings.iter().map(|open| open.ring.size()).min()?;
        Some((smallest, self.options.ring_bytes))
    }

    /// How much can be known.
    pub fn knowledge(&self) -> Knowledge {
        self.knowledge
    }

    /// Descriptors that become readable when it is time to drain: a ring is half full, or a user
    /// has changed. The set changes when [`ProcFeed::follow_cpus`] says so.
    pub fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        let rings = self.rings.iter().map(|open| open.ring.as_fd());
        rings
            .chain(self.connector.iter().map(AsFd::as_fd))
            .collect()
    }

    /// Appends all records up to now, in the order of their times.
    ///
    /// Rings are read one after the other, so a later ring can hold a child's exec whose fork
    /// was written to an earlier one just after that had been read. Records younger than the
    /// moment before the first look are therefore held back for the next call: what is handed
    /// out never misses its cause.
    pub fn drain(&mut self, out: &mut Vec<ProcRecord>) {
        let cut = clock::monotonic();
        for open in &mut self.rings {
            let since = std::mem::replace(&mut open.drained_at, cut);
            let (held, side_band) = (&mut self.held, &mut self.side_band);
            let may_lack = open.ring.drain(|raw| {
                held.extend(side_band.read(raw, since));
            });
            if may_lack {
                let what = ProcChange::Doubt { since };
                held.push(ProcRecord {
                    time: cut,
                    pid: 0,
                    tid: 0,
                    what,
                });
            }
        }
        self.drain_connector(cut);
        // Stable and linear on what it mostly gets, one ascending run for each source.
        self.held.sort_by_key(|record| record.time);
        let ready = self.held.partition_point(|record| record.time <= cut);
        let first = out.len();
        out.extend(self.held.drain(..ready));
        if self.knowledge == Knowledge::WithoutNames {
            self.read_back(out, first);
        }
    }

    fn drain_connector(&mut self, cut: u64) {
        let Some(connector) = &mut self.connector else {
            return;
        };
        let Err(error) = connector.drain(cut, &mut self.held) else {
            return;
        };
        self.connector = None;
        self.lacks(
            About::Users,
            format!("the proc connector has failed ({error})"),
        );
        self.knowledge = match self.knowledge {
            Knowledge::Full | Knowledge::NamesOnly => Knowledge::NamesOnly,
            Knowledge::WithoutNames | Knowledge::Nothing => Knowledge::Nothing,
        };
    }

    /// Asks /proc for the names that the connector does not bring, once for each last exec.
    fn read_back(&mut self, out: &mut Vec<ProcRecord>, first: usize) {
        let mut last = HashMap::new();
        for record in &out[first..] {
            match record.what {
                ProcChange::Exec => last.insert(record.pid, record.time),
                ProcChange::Exit if record.pid == record.tid => last.remove(&record.pid),
                _ => None,
            };
        }
        for (pid, time) in last {
            let Some(entry) = proc_fs::read(&self.options.proc_root, pid) else {
                continue;
            };
            out.push(ProcRecord {
                time,
                pid,
                tid: pid,
                what: ProcChange::ReadBack {
                    comm: entry.comm,
                    exe: entry.exe.map(|path| self.side_band.share(&path)),
                    read_at: clock::monotonic(),
                },
            });
        }
        out[first..].sort_by_key(|record| record.time);
    }

    /// Opens rings on CPUs that have come online, or come back, since; to be called before each drain, when the file
    /// events that are to be told by it have been read.
    ///
    /// What ran on a CPU before its new ring was there, nobody saw: that is a loss. `true` says that the poll set
    /// has changed.
    pub fn follow_cpus(&mut self, out: &mut Vec<ProcRecord>) -> io::Result<bool> {
        let list = &self.options.online_cpus;
        if self.rings.is_empty() || !self.cpus.is_suspicious(list) {
            return Ok(false);
        }
        // Every ring that is there was on by then. It may have been drained since it went off, and before anybody
        // heard of that.
        let since = self.cpus.looked_at();
        let online = self.cpus.look(list)?;
        // A CPU that was away for a moment is there as before, and its ring is switched off.
        let is_good = |open: &OpenRing| online.contains(&open.ring.cpu()) && open.ring.is_on();
        let good: Vec<bool> = self.rings.iter().map(is_good).collect();
        let known = self.rings.iter().zip(&good).filter(|(_, good)| **good);
        let known: Vec<u32> = known.map(|(open, _)| open.ring.cpu()).collect();
        let new = online.iter().filter(|cpu| !known.contains(cpu));
        let new: Vec<u32> = new.copied().collect();
        if new.is_empty() && good.iter().all(|good| *good) {
            return Ok(false);
        }
        // What a dead CPU left behind is handed out before its ring is closed; only then is there room for others.
        self.drain(out);
        self.rings.retain(|open| known.contains(&open.ring.cpu()));
        let rings = self.rings_of(&new)?;
        self.rings.extend(rings);
        if !new.is_empty() {
            out.push(ProcRecord {
                time: clock::monotonic(),
                pid: 0,
                tid: 0,
                what: ProcChange::Lost { count: 0, since },
            });
        }
        Ok(true)
    }
}

fn open_ring(cpu: u32, wanted: usize) -> io::Result<Option<Ring>> {
    let mut size = wanted;
    loop {
        match Ring::open(cpu, size) {
            // More than 512 KiB a CPU counts against RLIMIT_MEMLOCK.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && size > SMALLEST_RING =>
            {
                size /= 2;
            }
            result => return result,
        }
    }
}
