//! Clients that misbehave harm nobody: not the recording, not the other clients.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Suite;
use crate::actor::Actor;
use crate::churn;
use crate::ground::{Fs, Ground};
use crate::recorder::Home;
use crate::wait::PATIENCE;

pub(crate) fn list(suite: &mut Suite) {
    suite.one("silent_slow_huge_and_malformed_clients", abuse);
    suite.one("wrong_user_at_the_socket", wrong_user);
    suite.one("two_hundred_adds_at_once", two_hundred_adds);
}

fn connect(home: &Home) -> UnixStream {
    let stream = UnixStream::connect(&home.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(home: &Home, request: &[u8]) -> String {
    let mut stream = connect(home);
    // A daemon that refuses may close before it has read all.
    stream.write_all(request).ok();
    stream.shutdown(Shutdown::Write).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).unwrap()
}

fn abuse() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();

    let silent: Vec<UnixStream> = (0..20).map(|_| connect(&home)).collect();
    let mut slow = connect(&home);
    slow.write_all(b"cmd = \"li").unwrap();
    let list = "ok = true\n\n[[paths]]";
    assert!(
        ask(&home, b"cmd = \"list\"\n\n").starts_with(list),
        "while others are silent"
    );

    let mut huge = b"cmd = \"list\"\npath = \"".to_vec();
    huge.resize(1 << 20, b'a');
    let answer = ask(&home, &huge);
    assert!(
        answer.is_empty() || answer.starts_with("ok = false"),
        "{answer}"
    );
    for bad in [
        &b"\xff\xfe\n\n"[..],
        b"= = =\n\n",
        b"\0\0\0\0",
        b"cmd = 7\n\n",
        b"\n\n",
        b"cmd = \"add\"\n\n",
        b"cmd = \"nope\"\n\n",
    ] {
        let answer = ask(&home, bad);
        assert!(
            answer.is_empty() || answer.starts_with("ok = false\nerror = "),
            "{}: {answer}",
            bad.escape_ascii()
        );
    }
    assert_eq!(
        ask(&home, b"cmd = \"nope\"\n\n"),
        "ok = false\nerror = \"Unknown command: nope\"\n\n"
    );
    // Gone before the answer.
    for _ in 0..50 {
        connect(&home).write_all(b"cmd = \"list\"\n\n").unwrap();
    }
    let mut actor = Actor::both(&root);
    churn::plan(&mut actor, &root, 300);
    recorder.settle("_global", &root);
    slow.write_all(b"st\"\n\n").ok();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).ok();
    assert!(answer.is_empty() || answer.starts_with("ok = "), "{answer}");
    assert!(ask(&home, b"cmd = \"list\"\n\n").starts_with(list));
    drop(silent);
    recorder.stop();
    actor.truth().check(&home.log("_global"));
}

/// Run as another user: says what the socket answers.
pub(crate) fn work(socket: &Path) {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        println!("refused");
        return;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(b"cmd = \"list\"\n\n").ok();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok();
    println!("{answer}");
}

/// The mode of the socket keeps others out, and so does the daemon when the mode is changed.
fn wrong_user() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    let program = ground.dir.join("client");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let answer = || {
        let done = Command::new(&program)
            .arg(&home.socket)
            .env("FSMON_KERNEL_WORKER", "client")
            .uid(65534)
            .gid(65534)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    assert_eq!(
        fs::symlink_metadata(&home.socket)
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    assert_eq!(answer(), "waiting\nrefused\n");
    fs::set_permissions(&home.socket, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(!answer().contains("ok = true"), "{}", answer());
    recorder.settle("_global", &root);
    recorder.stop();
}

fn two_hundred_adds() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let recorder = home.start();
    let running: Vec<_> = (0..200)
        .map(|number| {
            let dir = root.join(format!("d{number}"));
            fs::create_dir(&dir).unwrap();
            let mut add = home.command(&["add", "_global", "--path", dir.to_str().unwrap()]);
            add.stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for add in running {
        let done = add.wait_with_output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let stored: serde_json::Value =
        serde_json::from_str(fs::read_to_string(home.store()).unwrap().trim()).unwrap();
    assert_eq!(stored["paths"].as_object().unwrap().len(), 200);
    assert_eq!(
        ask(&home, b"cmd = \"list\"\n\n")
            .matches("[[paths]]")
            .count(),
        200
    );
    recorder.stop();
}
