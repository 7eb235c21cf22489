//! The socket server: reads requests, forwards commands to the core, sends its answers back.
//!
//! Each client has a task of its own, so that a silent or slow one holds up nobody, least of all recording.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::live::{Interest, Next, Subscription};
use crate::config::Owner;
use crate::event::TypeSet;
use crate::filters::scope::trim_slashes;
use crate::log::line::{Gap, encode_gap};
use crate::monitored::path::quoted;
use crate::monitored::{GroupName, Watch};
use crate::socket::proto::{ErrorKind, REQUEST_LIMIT, Reply, Request};
use crate::sys::account::effective_uid;
use crate::sys::files;

/// A client that says nothing for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many are heard at once.
const CLIENTS: usize = 64;

/// What a client wants of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Watch, or replace the watch of that group on that path.
    Add(Box<Watch>),
    /// Stop watching a path for a group, or all of the group.
    Remove {
        /// The group.
        group: GroupName,
        /// The path.
        path: Option<PathBuf>,
    },
    /// Say what is watched.
    List,
    /// Say how everything is.
    Health,
    /// Tell what is recorded from now on.
    Subscribe(Interest),
    /// Note in the journal that somebody trimmed a log.
    Cleaned {
        /// Whose log.
        group: GroupName,
        /// Lines that went.
        deleted: u64,
        /// Its size before, in bytes.
        before: u64,
        /// Its size after.
        after: u64,
    },
}

/// What the core says to a command.
#[derive(Debug)]
pub struct Answer {
    /// For the client.
    pub reply: Reply,
    /// What the client gets behind it.
    pub live: Option<Subscription>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { reply, live: None }
    }
}

/// The way to the core: a command, and where its answer goes.
pub type CommandSender = mpsc::UnboundedSender<(Command, oneshot::Sender<Answer>)>;

impl Command {
    /// Reads a request; the error is the reply to it.
    pub fn from_request(request: &Request) -> Result<Self, Reply> {
        let group = || match request.track_cmd.as_deref() {
            None => Ok(GroupName::global()),
            Some(name) => name.parse::<GroupName>().map_err(|error| refuse(&error)),
        };
        let path = || request.path.as_deref().map(PathBuf::from);
        let missing = || Reply::refused("Missing 'path' field", None);
        match request.cmd.as_str() {
            "list" => Ok(Self::List),
            "add" => {
                let path = path().ok_or_else(missing)?;
                let group = group()?;
                if group.as_str() == "fsmon" {
                    let why = "fsmon daemon's own events are excluded from monitoring.";
                    return Err(Reply::refused(
                        format!("Cannot monitor 'fsmon' process: {why}"),
                        None,
                    ));
                }
                let watch =
                    Watch::new(group, &path, &request.options()).map_err(|error| refuse(&error))?;
                Ok(Self::Add(Box::new(watch)))
            }
            "remove" if request.path.is_none() && request.track_cmd.is_none() => Err(missing()),
            "remove" => Ok(Self::Remove {
                group: group()?,
                path: path(),
            }),
            "health" => Ok(Self::Health),
            "subscribe" => interest(request).map(Self::Subscribe),
            "cleaned" => cleaned(request),
            other => Err(Reply::refused(format!("Unknown command: {other}"), None)),
        }
    }
}

fn cleaned(request: &Request) -> Result<Command, Reply> {
    let absent = |key: &str| Reply::refused(format!("Missing '{key}' field"), None);
    let name = request.track_cmd.as_deref();
    Ok(Command::Cleaned {
        group: GroupName::of_log(name.ok_or_else(|| absent("track_cmd"))?)
            .map_err(|error| refuse(&error))?,
        deleted: request.deleted.ok_or_else(|| absent("deleted"))?,
        before: request.before.ok_or_else(|| absent("before"))?,
        after: request.after.ok_or_else(|| absent("after"))?,
    })
}

fn interest(request: &Request) -> Result<Interest, Reply> {
    let group = |name: &String| GroupName::of_log(name).map_err(|error| refuse(&error));
    let groups = request.groups.as_ref();
    let groups = groups.map(|names| names.iter().map(group).collect::<Result<_, _>>());
    let path = |path: &String| trim_slashes(path.as_bytes()).to_vec();
    let types = match &request.types {
        Some(types) => TypeSet::parse(types).map_err(|error| refuse(&error))?,
        None => TypeSet::ALL,
    };
    Ok(Interest {
        groups: groups.transpose()?,
        paths: request.paths.iter().flatten().map(path).collect(),
        types,
    })
}

fn refuse(error: &dyn std::error::Error) -> Reply {
    Reply::refused(error.to_string(), Some(ErrorKind::Permanent))
}

/// The bound socket.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    uid: u32,
    patience: Duration,
    /// Why the socket could not be given to its user.
    pub not_handed_over: Option<io::Error>,
}

impl Control {
    /// Binds the socket for user `uid`, mode 0600. A socket left by an earlier daemon is replaced;
    /// anything else at its place is left alone.
    pub fn bind(path: &Path, uid: u32, owner: Option<Owner>) -> anyhow::Result<Self> {
        files::as_user(owner, || Self::bind_as_user(path, uid, owner))
    }

    fn bind_as_user(path: &Path, uid: u32, owner: Option<Owner>) -> anyhow::Result<Self> {
        let listener = match listen(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path, uid)
                    .with_context(|| format!("cannot replace the socket {}", quoted(path)))?;
                listen(path)
            }
            bound => bound,
        };
        let listener = listener.with_context(|| format!("cannot listen on {}", quoted(path)))?;
        // Where files have no owner it stays with root, and only root can talk to the daemon.
        let not_handed_over =
            owner.and_then(|owner| files::give_socket(path, owner.uid, owner).err());
        Ok(Self {
            listener,
            uid,
            patience: PATIENCE,
            not_handed_over,
        })
    }

    /// Answers clients until it is dropped.
    pub async fn serve(self, core: CommandSender) {
        let mut clients = JoinSet::new();
        let mut waiting: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            while clients.try_join_next().is_some() {}
            // When all places are taken the one who has had the most time leaves.
            if clients.len() >= CLIENTS
                && let Some(oldest) = waiting.pop_front()
            {
                oldest.abort();
            }
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    waiting.retain(|client| !client.is_finished());
                    let client = attend(stream, self.uid, self.patience, core.clone());
                    waiting.push_back(clients.spawn(client));
                }
                // Out of descriptors or memory: that passes, and asking at once would only spin.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // unix(7): bind makes the name with the mode of the socket, so it is never open to others.
    files::set_mode(&fs::File::from(socket.as_fd().try_clone_to_owned()?), 0o600)?;
    socket.bind(path)?;
    socket.listen(128)
}

fn remove_stale(path: &Path, uid: u32) -> anyhow::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        bail!("something that is not a socket stands there");
    }
    if ![uid, effective_uid()].contains(&found.uid()) {
        bail!("it belongs to user {}", found.uid());
    }
    match BlockingStream::connect(path) {
        Ok(_) => bail!("another daemon answers there"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Serves one client. A client that goes away is its own affair, so errors end here.
async fn attend(mut stream: UnixStream, uid: u32, patience: Duration, core: CommandSender) {
    let Answer { reply, live } = match stream.peer_cred() {
        Ok(peer) if [0, uid].contains(&peer.uid()) => {
            match timeout(patience, read_request(&mut stream)).await {
                Ok(Ok(text)) => answer(&text, &core).await,
                Ok(Err(_)) => return,
                Err(_) => Reply::refused(
                    "Timed out waiting for a request",
                    Some(ErrorKind::Transient),
                )
                .into(),
            }
        }
        Ok(peer) => Reply::refused(
            format!("User {} may not talk to this daemon", peer.uid()),
            None,
        )
        .into(),
        Err(_) => return,
    };
    match live {
        // It stays for as long as it likes, so it does not count among those that come and go.
        Some(live) => drop(tokio::spawn(serve_live(stream, reply, live))),
        // Both errors say that the client is gone or does not read.
        None => drop(timeout(patience, send(&mut stream, &reply)).await),
    }
}

/// Sends what is recorded until the client goes, or the daemon ends. A client that does not read waits
/// here alone.
async fn serve_live(mut stream: UnixStream, reply: Reply, mut live: Subscription) {
    let (mut hears, mut lines) = (true, Vec::new());
    let mut sent = stream.write_all(reply.to_toml().as_bytes()).await;
    while sent.is_ok() {
        match live.take_next() {
            Next::Lines(chunk) => {
                let wanted = chunk.select(live.interest(), &mut lines);
                sent = stream.write_all(wanted).await;
            }
            Next::Missed(missed) => {
                let gap = Gap {
                    time: missed.until,
                    lost: i64::try_from(missed.count).unwrap_or(i64::MAX),
                    cause: MISSED.into(),
                    since: missed.since,
                };
                lines.clear();
                encode_gap(&gap, &mut lines);
                sent = stream.write_all(&lines).await;
            }
            Next::End => return,
            Next::Nothing => {
                let mut said = [0; 64];
                tokio::select! {
                    () = live.changed() => {}
                    // Who has ended only its sending still reads.
                    heard = stream.read(&mut said), if hears => match heard {
                        Ok(0) if files::is_hung_up(stream.as_fd()) => return,
                        Ok(count) => hears = count > 0,
                        Err(_) => return,
                    },
                    () = sleep(LOOK_AGAIN), if !hears => {
                        if files::is_hung_up(stream.as_fd()) {
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// Who has ended its sending is looked at so often, as long as there is nothing to send.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// As it stands in a GAP line that a reader gets.
const MISSED: &str = "this reader was too slow; the log has them";

/// Sends the reply and waits until the client has closed too: to close a socket with something
/// unread in it makes the other side see an error instead of the end.
async fn send(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    stream.write_all(reply.to_toml().as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

async fn answer(text: &[u8], core: &CommandSender) -> Answer {
    if text.len() > REQUEST_LIMIT {
        return Reply::refused(
            "The request is longer than 64 KiB",
            Some(ErrorKind::Permanent),
        )
        .into();
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return Reply::refused("Invalid command: it is not UTF-8", None).into();
    };
    let request = Request::parse(text).map_err(|error| Reply::refused(error, None));
    let command = match request.and_then(|request| Command::from_request(&request)) {
        Ok(command) => command,
        Err(reply) => return reply.into(),
    };
    let stopping = || Reply::refused("The daemon is stopping", Some(ErrorKind::Transient)).into();
    let (reply, answer) = oneshot::channel();
    if core.send((command, reply)).is_err() {
        return stopping();
    }
    answer.await.unwrap_or_else(|_| stopping())
}

/// Reads up to an empty line, the end, or one byte more than is allowed.
async fn read_request(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).await?;
        let seen = text.len().saturating_sub(1);
        text.extend_from_slice(&chunk[..count]);
        if let Some(at) = text[seen..].windows(2).position(|pair| pair == b"\n\n") {
            text.truncate(seen + at + 1);
            return Ok(text);
        }
        if count == 0 || text.len() > REQUEST_LIMIT {
            return Ok(text);
        }
    }
}

#[cfg(test)]
mod tests;
