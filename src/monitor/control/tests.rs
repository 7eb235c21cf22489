//! Clients of all manners against the server, with a core that answers at once.

use super::*;
use crate::socket::{CallError, call};
use std::os::unix::fs::symlink;

struct Daemon {
    dir: tempfile::TempDir,
    _server: JoinSet<()>,
}

impl Daemon {
    fn start() -> Self {
        Self::with_patience(PATIENCE)
    }

    fn with_patience(patience: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut control = Control::bind(&dir.path().join("s"), effective_uid(), None).unwrap();
        control.patience = patience;
        let (commands, mut core) = mpsc::unbounded_channel::<(Command, oneshot::Sender<Answer>)>();
        let mut server = JoinSet::new();
        server.spawn(control.serve(commands));
        server.spawn(async move {
            while let Some((command, reply)) = core.recv().await {
                let answer = match command {
                    Command::List => Reply::list([]),
                    Command::Add(_) | Command::Subscribe(_) | Command::Health => Reply::done(),
                    Command::Remove { .. } => Reply::refused("Path not found: /zzz", None),
                    Command::Cleaned { .. } => Reply::done(),
                };
                reply.send(answer.into()).ok();
            }
        });
        Self {
            dir,
            _server: server,
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    async fn say(&self, request: &str, half_close: bool) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        if half_close {
            stream.shutdown().await.unwrap();
        }
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

#[tokio::test]
async fn requests_end_with_an_empty_line_or_a_half_close() {
    let daemon = Daemon::start();
    assert_eq!(
        daemon.say("cmd = \"list\"\n\n\n", false).await,
        "ok = true\npaths = []\n\n"
    );
    assert_eq!(
        daemon.say("cmd = \"list\"\n\n", false).await,
        "ok = true\npaths = []\n\n"
    );
    assert_eq!(
        daemon.say("cmd = \"list\"", true).await,
        "ok = true\npaths = []\n\n"
    );
    let late = "cmd = \"add\"\npath = \"/a\"\n\ngarbage";
    assert_eq!(daemon.say(late, false).await, "ok = true\n\n");
}

#[tokio::test]
async fn wrong_requests_get_the_answers_of_0_3() {
    let daemon = Daemon::start();
    for (request, answer) in [
        (
            "cmd = \"nope\"",
            "ok = false\nerror = \"Unknown command: nope\"\n\n",
        ),
        (
            "cmd = \"add\"",
            "ok = false\nerror = \"Missing 'path' field\"\n\n",
        ),
        (
            "cmd = \"remove\"",
            "ok = false\nerror = \"Missing 'path' field\"\n\n",
        ),
        (
            "cmd = \"remove\"\npath = \"/zzz\"",
            "ok = false\nerror = \"Path not found: /zzz\"\n\n",
        ),
        (
            "cmd = \"add\"\npath = \"/a\"\ntrack_cmd = \"fsmon\"",
            "ok = false\nerror = \"Cannot monitor 'fsmon' process: fsmon daemon's own events are excluded from monitoring.\"\n\n",
        ),
    ] {
        assert_eq!(daemon.say(request, true).await, answer, "{request}");
    }
    let invalid = daemon.say("what", true).await;
    assert!(
        invalid
            .starts_with("ok = false\nerror = \"\"\"\nInvalid command: TOML parse error at line 1"),
        "{invalid}"
    );
    for wrong in [
        "types = [\"BOGUS\"]",
        "size = \"zz\"",
        "exclude = [\"[\"]",
        "track_cmd = \"a/b\"",
        "max_depth = -1",
    ] {
        let answer = daemon
            .say(&format!("cmd = \"add\"\npath = \"/a\"\n{wrong}"), true)
            .await;
        assert!(answer.starts_with("ok = false\n"), "{wrong}: {answer}");
    }
    let long = format!("cmd = \"{}", "x".repeat(2 * REQUEST_LIMIT));
    assert!(daemon.say(&long, true).await.contains("64 KiB"));
}

#[tokio::test]
async fn silent_clients_hold_up_nobody() {
    let daemon = Daemon::start();
    let mut silent = Vec::new();
    for _ in 0..CLIENTS - 1 {
        silent.push(UnixStream::connect(daemon.socket()).await.unwrap());
    }
    for _ in 0..100 {
        assert_eq!(
            daemon.say("cmd = \"list\"\n\n", false).await,
            "ok = true\npaths = []\n\n"
        );
    }
}

#[tokio::test]
async fn a_silent_client_is_told_that_its_time_is_up() {
    let daemon = Daemon::with_patience(Duration::from_millis(20));
    assert!(daemon.say("cmd = \"li", false).await.contains("Timed out"));
}

#[tokio::test]
async fn the_socket_is_for_its_user_alone_and_a_stale_one_is_replaced() {
    let daemon = Daemon::start();
    let found = fs::symlink_metadata(daemon.socket()).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o600);
    let second = Control::bind(&daemon.socket(), effective_uid(), None).unwrap_err();
    assert!(
        format!("{second:#}").contains("another daemon answers"),
        "{second:#}"
    );
    let socket = daemon.dir.path().join("stale");
    // As anybody, a user may at least hand things to himself.
    let owner = Owner {
        uid: found.uid(),
        gid: found.gid(),
    };
    drop(listen(&socket).unwrap());
    Control::bind(&socket, effective_uid(), Some(owner)).unwrap();
}

#[tokio::test]
async fn what_is_not_a_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    fs::write(&target, "precious").unwrap();
    symlink(&target, dir.path().join("link")).unwrap();
    symlink(dir.path().join("nothing"), dir.path().join("dangling")).unwrap();
    for name in ["target", "link", "dangling"] {
        assert!(
            Control::bind(&dir.path().join(name), effective_uid(), None).is_err(),
            "{name}"
        );
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert!(!dir.path().join("nothing").try_exists().unwrap());
}

#[tokio::test]
async fn the_blocking_client_understands_the_server() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let ask = move |request: Request| {
        let socket = socket.clone();
        tokio::task::spawn_blocking(move || call(&socket, effective_uid(), &request))
    };
    assert_eq!(
        ask(Request::list()).await.unwrap().unwrap(),
        Reply::list([])
    );
    let refused = ask(Request::remove("_global", Some("/zzz"))).await.unwrap();
    assert!(matches!(
        refused,
        Err(CallError::Refused { kind: None, .. })
    ));
}
