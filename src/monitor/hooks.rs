//! Programs that rules call: some at a time, for so long, and what they say is kept.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use super::core::Message;
use crate::policy::{Hook, HookCommand};
use crate::sys::{account, files, process};

/// A hook that is to be called.
#[derive(Debug)]
pub struct Call {
    /// The name of the rule.
    pub rule: String,
    /// What to run.
    pub hook: Hook,
    /// What it finds in its environment.
    pub environment: [(&'static str, Vec<u8>); 6],
    /// What it reads from its standard input: the alert as a line.
    pub alert: Vec<u8>,
}

/// How a call ended.
#[derive(Debug)]
pub struct Ended {
    /// The name of the rule.
    pub rule: String,
    /// In words: `exit 0`, `killed after 10 s`.
    pub how: String,
    /// The beginning of what it printed.
    pub output: Vec<u8>,
}

/// The way to the hooks; calls beyond what can wait are refused.
#[derive(Clone, Debug)]
pub struct Hooks(mpsc::Sender<Call>);

impl Hooks {
    /// Makes the way, and its other end for [`serve`].
    pub fn new() -> (Self, mpsc::Receiver<Call>) {
        let (calls, queue) = mpsc::channel(WAITING);
        (Self(calls), queue)
    }

    /// Has a hook called soon; false when too many wait already.
    pub fn call(&self, call: Call) -> bool {
        self.0.try_send(call).is_ok()
    }
}

/// Calls hooks until nobody asks for any more.
pub async fn serve(mut queue: mpsc::Receiver<Call>, to_core: Sender<Message>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(call) = queue.recv().await {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let to_core = to_core.clone();
        tokio::spawn(async move {
            let mut output = Vec::new();
            let how = run(&call, &mut output).await;
            let how = how.unwrap_or_else(|error| format!("could not be started: {error}"));
            drop(place);
            let rule = call.rule;
            to_core
                .send(Message::HookEnded(Ended { rule, how, output }))
                .ok();
        });
    }
}

async fn run(call: &Call, output: &mut Vec<u8>) -> io::Result<String> {
    let until = Instant::now() + call.hook.timeout;
    let (reader, writer) = io::pipe()?;
    let mut said = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let mut child = start(call, writer)?;
    let leader = child.id().unwrap_or_default();
    let _group = Group(leader);
    let mut listens = true;
    let mut buffer = [0; 4096];
    let status = loop {
        tokio::select! {
            status = child.wait() => break Some(status?),
            () = sleep_until(until) => break None,
            read = said.read(&mut buffer), if listens => match read {
                Ok(count @ 1..) => keep(output, &buffer[..count]),
                Ok(_) | Err(_) => listens = false,
            },
        }
    };
    while let Ok(count @ 1..) = said.try_read(&mut buffer)
        && output.len() < KEPT
    {
        keep(output, &buffer[..count]);
    }
    let how = match status {
        Some(status) => in_words(status),
        None => format!("killed after {:?}", call.hook.timeout),
    };
    // What it left running has the same time, and then goes.
    while process::has_group(leader) && Instant::now() < until {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    if status.is_none() {
        process::kill_group(leader).ok();
        child.wait().await?;
    }
    Ok(how)
}

/// What a hook started goes when its call is over, also when that is because the daemon ends.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        process::kill_group(self.0).ok();
    }
}

fn start(call: &Call, writer: io::PipeWriter) -> io::Result<Child> {
    let mut command = match &call.hook.run {
        HookCommand::Argv(words) => {
            let (program, words) = words
                .split_first()
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            let mut command = Command::new(program);
            command.args(words);
            command
        }
        HookCommand::Shell(text) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(text);
            command
        }
    };
    command.env_clear().env("PATH", PATH).current_dir("/");
    for (name, value) in &call.environment {
        // A NUL cannot stand in an environment; the kernel never puts one into a path or a name.
        command.env(name, OsStr::from_bytes(value));
    }
    if let Some(user) = &call.hook.user {
        let (uid, gid) = account::ids_of(user)
            .ok_or_else(|| io::Error::other(format!("there is no user '{user}'")))?;
        command.gid(gid).uid(uid);
    }
    command
        .stdin(alert_file(&call.alert)?)
        .stdout(writer.try_clone()?)
        .stderr(writer)
        // With all that it starts it can be ended as one.
        .process_group(0)
        .kill_on_drop(true);
    command.spawn()
}

/// The alert as a file: a hook that does not read it holds nobody up.
fn alert_file(alert: &[u8]) -> io::Result<File> {
    let mut file = files::in_memory(c"alert")?;
    file.write_all(alert)?;
    file.rewind()?;
    Ok(file)
}

fn keep(output: &mut Vec<u8>, more: &[u8]) {
    let room = KEPT - output.len().min(KEPT);
    output.extend_from_slice(&more[..more.len().min(room)]);
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// So many hooks run at once.
const AT_ONCE: usize = 4;
/// So many wait for their turn.
const WAITING: usize = 64;
/// So much of what a hook prints is kept.
const KEPT: usize = 4096;
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
