//! A blocking client of the daemon's socket.

use std::fmt;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::proto::{ErrorKind, NO_SUCH_GROUP, NO_SUCH_PATH, Reply, Request};
use crate::monitored::path::escaped;

/// An `add` may have to wait for a filesystem that answers slowly.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why a call gave no result.
#[derive(Debug)]
pub enum CallError {
    /// Nobody listens.
    NotRunning,
    /// The daemon said no.
    Refused {
        /// Its words.
        message: String,
        /// Whether asking again can help, when it said so.
        kind: Option<ErrorKind>,
    },
    /// The daemon could not be talked to.
    Io(io::Error),
}

impl CallError {
    /// Whether the daemon does not watch what it should cease to watch.
    pub fn is_not_watched(&self) -> bool {
        let starts = |words: &str| matches!(self, Self::Refused { message, .. } if message.starts_with(words));
        starts(NO_SUCH_PATH) || starts(NO_SUCH_GROUP)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("the daemon is not running"),
            Self::Refused { message, .. } => {
                write!(
                    f,
                    "the daemon refused: {}",
                    escaped(Path::new(message.trim()))
                )
            }
            Self::Io(error) => write!(f, "cannot talk to the daemon: {error}"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NotRunning,
            _ => Self::Io(error),
        }
    }
}

/// Sends a request to the daemon of user `uid` and waits for its answer, which is `ok`.
pub fn call(socket: &Path, uid: u32, request: &Request) -> Result<Reply, CallError> {
    let mut stream = connect(socket, uid)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
    stream
        .write_all(request.to_toml().as_bytes())
        .map_err(broken)?;
    stream.write_all(b"\n\n").map_err(broken)?;
    stream.shutdown(Shutdown::Write).map_err(broken)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(broken)?;
    understood(&text)
}

/// Asks for live lines, and hands out the connection when the daemon has said that it will send them.
pub fn subscribe(
    socket: &Path,
    uid: u32,
    request: &Request,
) -> Result<BufReader<UnixStream>, CallError> {
    let mut stream = connect(socket, uid)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
    stream
        .write_all(request.to_toml().as_bytes())
        .map_err(broken)?;
    stream.write_all(b"\n\n").map_err(broken)?;
    let mut lines = BufReader::new(stream);
    let mut text = String::new();
    // An empty line ends the answer.
    while !text.ends_with("\n\n") && lines.read_line(&mut text).map_err(broken)? > 0 {}
    understood(&text)?;
    // What comes now may take its time.
    lines.get_ref().set_read_timeout(None).map_err(broken)?;
    Ok(lines)
}

/// Why a request got no answer. A daemon that ends resets what it has not read.
fn broken(error: io::Error) -> CallError {
    CallError::Io(match error.kind() {
        kind @ (io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe) => io::Error::new(kind, "it closed without an answer"),
        _ => error,
    })
}

/// The daemon's answer, which is `ok`.
fn understood(text: &str) -> Result<Reply, CallError> {
    if text.is_empty() {
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    let reply = Reply::parse(text)
        .map_err(|error| CallError::Io(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    if reply.ok {
        return Ok(reply);
    }
    Err(CallError::Refused {
        message: reply.error.unwrap_or_default(),
        kind: reply.error_kind,
    })
}

/// In /tmp anybody could have put a socket of that name, so it has to be root's or the user's.
fn connect(socket: &Path, uid: u32) -> Result<UnixStream, CallError> {
    let found = fs::symlink_metadata(socket)?;
    if !found.file_type().is_socket() || ![0, uid].contains(&found.uid()) {
        return Err(CallError::Io(io::Error::other(
            "what stands at its socket's place is not its own",
        )));
    }
    Ok(UnixStream::connect(socket)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn uid_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().uid()
    }

    fn answered(answer: &'static str) -> Result<Reply, CallError> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            stream.read_to_string(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        let answer = call(&socket, uid_of(dir.path()), &Request::list());
        assert_eq!(daemon.join().unwrap(), "cmd = \"list\"\n\n\n");
        answer
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(answered("ok = true\n\n").unwrap(), Reply::done());
        let refused = answered("ok = false\nerror = \"no\"\nerror_kind = \"Permanent\"\n\n");
        assert!(matches!(
            refused,
            Err(CallError::Refused {
                kind: Some(ErrorKind::Permanent),
                ..
            })
        ));
        assert!(matches!(answered(""), Err(CallError::Io(_))));
        assert!(matches!(answered("what"), Err(CallError::Io(_))));
    }

    #[test]
    fn who_ends_without_reading_has_closed_without_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            // There is something that it has not read.
            let is_sent = || rustix::io::ioctl_fionread(&stream).unwrap() > 0;
            while !is_sent() {
                std::thread::yield_now();
            }
        });
        let error = call(&socket, uid_of(dir.path()), &Request::list()).unwrap_err();
        daemon.join().unwrap();
        assert_eq!(
            error.to_string(),
            "cannot talk to the daemon: it closed without an answer"
        );
    }

    #[test]
    fn nobody_there_is_not_an_error_of_the_connection() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let call = || call(&socket, uid_of(dir.path()), &Request::list());
        assert!(matches!(call(), Err(CallError::NotRunning)));
        drop(UnixListener::bind(&socket).unwrap());
        assert!(matches!(call(), Err(CallError::NotRunning)));
        fs::remove_file(&socket).unwrap();
        fs::write(&socket, "").unwrap();
        assert!(matches!(call(), Err(CallError::Io(_))));
    }
}
