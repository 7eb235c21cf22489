//! Tells the service manager how far the daemon is: <https://man7.org/linux/man-pages/man3/sd_notify.3.html>
//!
//! A few words in one datagram to the socket that `NOTIFY_SOCKET` names; without that variable nothing
//! is told. There is no watchdog in it: whoever feeds one has to wake up for it, and an idle daemon
//! sleeps. A thread that fails ends the daemon, which the manager sees without one.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use super::report::{Level, Reporter};
use crate::sys::clock::monotonic;

/// The service manager, if there is one.
#[derive(Clone, Debug)]
pub(super) struct Manager {
    socket: Option<SocketAddr>,
    reporter: Arc<Reporter>,
}

impl Manager {
    /// The one that has started this process.
    pub(super) fn of_process(reporter: Arc<Reporter>) -> Self {
        Self::at(std::env::var_os("NOTIFY_SOCKET").as_deref(), reporter)
    }

    fn at(name: Option<&OsStr>, reporter: Arc<Reporter>) -> Self {
        let name = name.filter(|name| !name.is_empty());
        let socket = name.map(address).transpose().unwrap_or_else(|error| {
            let name = name.unwrap_or_default().to_string_lossy();
            let name = name.escape_debug();
            let text =
                format!("NOTIFY_SOCKET: the service manager is told nothing: '{name}': {error}");
            reporter.say(Level::Warning, &text);
            None
        });
        Self { socket, reporter }
    }

    /// Everything is recorded from now on.
    pub(super) fn ready(&self) {
        self.tell("READY=1\nSTATUS=Recording");
    }

    /// The configuration is read again; ends with [`Manager::ready`].
    pub(super) fn reloading(&self) {
        let now = monotonic() / 1000;
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=Reading watches, configuration and policy again"
        ));
    }

    /// It ends in order.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Writing what was captured");
    }

    /// Waits for a manager that does not read, but not for long: no thread that records comes here.
    fn tell(&self, words: &str) {
        let Some(address) = &self.socket else {
            return;
        };
        // Not connected: after a re-exec of the manager another socket may stand at the address.
        let told = UnixDatagram::unbound().and_then(|socket| {
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.send_to_addr(words.as_bytes(), address)
        });
        if let Err(error) = told {
            let words = words.lines().next().unwrap_or_default();
            let text = format!("cannot tell the service manager {words}: {error}");
            self.reporter.say(Level::Warning, &text);
        }
    }
}

/// A path, or behind an `@` a name in the abstract space.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::other("neither a path nor an @name")),
    }
}

/// A manager takes what it is sent within this time.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(name: &str) -> Manager {
        Manager::at(Some(OsStr::new(name)), Arc::new(Reporter::new(false)))
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut room = [0; 200];
        let count = socket.recv(&mut room).unwrap();
        String::from_utf8(room[..count].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("fsmon-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, name) in [
            (at_path, path.to_str().unwrap().to_owned()),
            (at_name, format!("@{name}")),
        ] {
            let manager = manager(&name);
            manager.ready();
            assert_eq!(heard(&socket), "READY=1\nSTATUS=Recording");
            let before = monotonic() / 1000;
            manager.reloading();
            let told = heard(&socket);
            let at = told
                .lines()
                .nth(1)
                .and_then(|line| line.strip_prefix("MONOTONIC_USEC="));
            let at: u64 = at.unwrap_or_else(|| panic!("{told}")).parse().unwrap();
            assert!((before..=monotonic() / 1000).contains(&at), "{told}");
            manager.stopping();
            assert!(heard(&socket).starts_with("STOPPING=1\n"));
        }
    }

    #[test]
    fn a_manager_that_is_gone_or_does_not_read_ends_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = manager(path.to_str().unwrap());
        manager.ready();
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let began = std::time::Instant::now();
        // More than net.unix.max_dgram_qlen of them wait only where nobody reads; one that finds no
        // place is given up.
        let full = UnixDatagram::unbound().unwrap();
        full.set_nonblocking(true).unwrap();
        while full.send_to(b"", &path).is_ok() {}
        manager.ready();
        assert!(began.elapsed() < 5 * PATIENCE);
    }

    #[test]
    fn an_address_is_a_path_or_a_name() {
        assert_eq!(manager("").socket.map(|_| ()), None);
        assert_eq!(manager("relative").socket.map(|_| ()), None);
        assert_eq!(manager(&"/x".repeat(100)).socket.map(|_| ()), None);
        assert!(manager("@name").socket.is_some());
    }
}
