//! The proc connector: changes of user, and everything else where perf is refused.
//!
//! The crate's known defects, and what is done about each:
//!
//! - `ProcConnector::new` waits for an answer that a kernel may never send (a subscription
//!   refused, a pid namespace): it runs on a thread of its own and is given up after a while.
//! - `subscribe_filtered` takes one datagram for its answer, whatever it is: a real event can
//!   be swallowed. The snapshot of /proc is taken after this, so nothing depends on it.
//! - The queue then still holds unfiltered events: they are read like any others.
//! - Sequence numbers jump over filtered events: only ENOBUFS counts as a loss.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc;
use std::time::Duration;

use proc_connector::{Error, EventMask, NetlinkMessageIter, ProcConnector, ProcEvent};

use super::record::{Comm, ProcChange, ProcRecord};
use crate::sys::netlink;

/// The default of 208 KiB holds the messages of 83 processes; 16 MiB rides out 300 ms at full speed.
const RECEIVE_BUFFER: u32 = 16 << 20;

/// How long the kernel may take to answer a subscription.
const PATIENCE: Duration = Duration::from_secs(2);

/// Inode number of the first pid namespace (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// What is wanted from the connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Changes of effective uid.
    Users,
    /// All there is.
    Everything,
}

/// An open subscription.
#[derive(Debug)]
pub(super) struct Connector {
    socket: ProcConnector,
    wanted: Wanted,
    room: Vec<u8>,
    forced: io::Result<()>,
    drained_at: u64,
}

impl Connector {
    pub(super) fn open(wanted: Wanted, now: u64) -> io::Result<Self> {
        if !in_first_pid_namespace() {
            // Messages there carry the host's pids, which match nothing that fanotify reports.
            return Err(io::Error::other("not in the host's pid namespace"));
        }
        let socket = subscribe()?;
        socket.set_nonblocking().map_err(cause)?;
        let forced = netlink::force_receive_buffer(socket.as_fd(), RECEIVE_BUFFER);
        let filtered = match wanted {
            Wanted::Users => socket.subscribe_filtered(EventMask::UID | EventMask::GID),
            Wanted::Everything => Ok(()),
        };
        match filtered {
            // No answer is waiting: the kernel is older than the filter, and sends everything.
            Ok(()) | Err(Error::WouldBlock | Error::Overrun) => {}
            Err(error) => return Err(cause(error)),
        }
        Ok(Self {
            socket,
            wanted,
            room: vec![0; 8192],
            forced,
            drained_at: now,
        })
    }

    /// Why the receive buffer could not be made large, if it could not.
    pub(super) fn small_buffer(&self) -> Option<&io::Error> {
        self.forced.as_ref().err()
    }

    /// Appends all that is queued now.
    pub(super) fn drain(&mut self, now: u64, out: &mut Vec<ProcRecord>) -> io::Result<()> {
        let since = std::mem::replace(&mut self.drained_at, now);
        loop {
            let len = match self.socket.recv_raw(&mut self.room) {
                Ok(len) => len,
                Err(Error::WouldBlock) => return Ok(()),
                Err(Error::Interrupted) => continue,
                Err(Error::Overrun) => {
                    out.push(lost(since, now));
                    continue;
                }
                Err(error) => {
                    out.push(lost(since, now));
                    return Err(cause(error));
                }
            };
            read_datagram(&self.room[..len], self.wanted, since, now, out);
        }
    }
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Appends what a datagram of the connector says of processes; before `since` nothing is missing.
pub fn read_datagram(
    bytes: &[u8],
    wanted: Wanted,
    since: u64,
    now: u64,
    out: &mut Vec<ProcRecord>,
) {
    for message in NetlinkMessageIter::new(bytes, bytes.len()) {
        match message {
            Ok(Some(event)) => out.extend(record(event, wanted)),
            Err(Error::Overrun) => out.push(lost(since, now)),
            // Control messages, and messages of other connectors, say nothing about processes.
            Ok(None) | Err(_) => {}
        }
    }
}

/// Whether the pids that the connector reports are those that we see.
pub(super) fn in_first_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|name| name.as_os_str() == FIRST_PID_NAMESPACE)
}

fn subscribe() -> io::Result<ProcConnector> {
    let (answer, answered) = mpsc::channel();
    std::thread::Builder::new()
        .name("proc-connector".into())
        .spawn(move || {
            // Nobody listens any more after the time-out: then the socket is simply closed here.
            drop(answer.send(ProcConnector::new()));
        })?;
    match answered.recv_timeout(PATIENCE) {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => Err(cause(error)),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the kernel does not answer the subscription",
        )),
    }
}

fn cause(error: Error) -> io::Error {
    match error {
        Error::Os(error) => error,
        other => io::Error::other(other),
    }
}

fn lost(since: u64, now: u64) -> ProcRecord {
    ProcRecord {
        time: now,
        pid: 0,
        tid: 0,
        what: ProcChange::Lost { count: 0, since },
    }
}

fn record(event: ProcEvent, wanted: Wanted) -> Option<ProcRecord> {
    let (time, pid, tid, what) = match event {
        ProcEvent::Uid {
            pid,
            tgid,
            euid,
            timestamp_ns,
            ..
        } => (timestamp_ns, tgid, pid, ProcChange::Euid { uid: euid }),
        _ if wanted == Wanted::Users => return None,
        ProcEvent::Fork {
            parent_pid,
            parent_tgid,
            child_pid,
            child_tgid,
            timestamp_ns,
            ..
        } => {
            let what = ProcChange::Fork {
                ppid: parent_tgid,
                thread: parent_pid,
            };
            (timestamp_ns, child_tgid, child_pid, what)
        }
        ProcEvent::Exec {
            pid,
            tgid,
            timestamp_ns,
            ..
        } => (timestamp_ns, tgid, pid, ProcChange::Exec),
        ProcEvent::Comm {
            pid,
            tgid,
            comm,
            timestamp_ns,
            ..
        } => {
            let comm = Comm::new(&comm);
            (
                timestamp_ns,
                tgid,
                pid,
                ProcChange::Comm { comm, exec: false },
            )
        }
        ProcEvent::Exit {
            pid,
            tgid,
            timestamp_ns,
            ..
        } => (timestamp_ns, tgid, pid, ProcChange::Exit),
        _ => return None,
    };
    Some(ProcRecord {
        time,
        pid,
        tid,
        what,
    })
}
