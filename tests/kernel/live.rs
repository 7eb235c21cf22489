//! Those who listen to the daemon: `fsmon tail`, and clients of the socket of every manner.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Suite;
use crate::flood;
use crate::ground::{Fs, Ground};
use crate::lines::{MARKER, contains};
use crate::recorder::Home;
use crate::wait::{PATIENCE, until};
use crate::workers::together;

pub(crate) fn list(suite: &mut Suite) {
    suite.one("ten_subscribers_in_a_flood", ten_subscribers);
    suite.one("tail_shows_the_log_first_and_then_what_comes", log_first);
    suite.one("tail_ends_with_its_reader", ends_with_its_reader);
    suite.one("tail_selects_groups_paths_and_types", selects);
    suite.one("health_counts_what_happened", health);
    suite.one("subscribers_that_have_gone_leave_room", gone);
}

/// A client that has been told that lines will come.
fn subscribe(home: &Home, more: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(&home.socket).unwrap();
    let request = format!("cmd = \"subscribe\"\n{more}\n\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream);
    let mut answer = String::new();
    lines.read_line(&mut answer).unwrap();
    assert_eq!(answer, "ok = true\n");
    lines.read_line(&mut answer).unwrap();
    lines
}

/// Reads everything up to the daemon's end.
struct Reader {
    got: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn new(lines: BufReader<UnixStream>) -> Self {
        Self::beginning_with(lines, |_, _| ())
    }

    /// What `first` leaves is read as it comes.
    fn beginning_with(
        mut lines: BufReader<UnixStream>,
        first: impl FnOnce(&mut BufReader<UnixStream>, &Mutex<Vec<u8>>) + Send + 'static,
    ) -> Self {
        let got = Arc::<Mutex<Vec<u8>>>::default();
        let all = Arc::clone(&got);
        let thread = thread::spawn(move || {
            first(&mut lines, &all);
            loop {
                let more = lines.fill_buf().unwrap();
                let length = more.len();
                if length == 0 {
                    return;
                }
                all.lock().unwrap().extend_from_slice(more);
                lines.consume(length);
            }
        });
        Self { got, thread }
    }

    /// Whether `text` is among the last that it got.
    fn has(&self, text: &str) -> bool {
        let got = self.got.lock().unwrap();
        let last = &got[got.len().saturating_sub(1 << 14)..];
        contains(last, text.as_bytes())
    }

    fn join(self) -> Vec<u8> {
        self.thread.join().unwrap();
        std::mem::take(&mut self.got.lock().unwrap())
    }
}

/// Nobody holds up the recording or another one, and who is too slow is told what it missed.
fn ten_subscribers() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE,DELETE"]);
    let mut recorder = home.start();
    let workers = flood::workers(&root, 25_000);
    recorder.settle("_global", &root);

    let good: Vec<_> = (0..6).map(|_| Reader::new(subscribe(&home, ""))).collect();
    let created = Reader::new(subscribe(&home, "types = [\"CREATE\"]"));
    let (go, over) = std::sync::mpsc::channel::<()>();
    let stopped = Reader::beginning_with(subscribe(&home, ""), move |_, _| {
        over.recv().unwrap_or(());
    });
    let (enough, is_enough) = std::sync::mpsc::channel::<()>();
    let slow = Reader::beginning_with(subscribe(&home, ""), move |lines, all| {
        // A byte a second, until the flood is over.
        while is_enough.recv_timeout(Duration::from_secs(1)).is_err() {
            let mut byte = [0];
            let got = lines.read(&mut byte).unwrap();
            all.lock().unwrap().extend_from_slice(&byte[..got]);
        }
    });
    let mut vanishing = subscribe(&home, "");
    let vanished = thread::spawn(move || {
        let mut line = String::new();
        for _ in 0..100 {
            vanishing.read_line(&mut line).unwrap();
        }
    });

    together(workers);
    recorder.settle("_global", &root);
    vanished.join().unwrap();
    let peak = recorder.status_of("VmHWM");
    enough.send(()).ok();
    go.send(()).ok();
    // A daemon that ends gives nobody more than a second for the rest.
    let mut readers: Vec<&Reader> = good.iter().chain([&created, &stopped, &slow]).collect();
    let mut count = 0;
    let have_all = until(PATIENCE, || {
        count += 1;
        let last = format!("{MARKER}last{count}");
        fs::create_dir(root.join(&last)).unwrap();
        let has = |reader: &&Reader| {
            until(Duration::from_secs(1), || reader.has(&last).then_some(())).is_some()
        };
        readers.retain(|reader| !has(reader));
        readers.is_empty().then_some(())
    });
    assert!(have_all.is_some(), "{} readers are behind", readers.len());
    let said = recorder.stop();
    assert!(!said.iter().any(|line| line.contains("lost")), "{said:?}");

    // Everybody began at some place shortly before the flood, and nothing comes behind its end.
    let log = fs::read_to_string(home.log_path("_global")).unwrap();
    let of_flood = |line: &&str| !line.contains(MARKER);
    let flood: Vec<&str> = log.lines().filter(of_flood).collect();
    let all = flood.len();
    assert!((200_000..200_010).contains(&all), "{all}");
    let every: Vec<&str> = log.lines().collect();
    for reader in good {
        let (lines, missed) = compared(&reader.join(), &every);
        assert!(lines + missed >= 200_000, "{lines} and {missed} of {all}");
        println!("{missed} of {all} missed by one who reads at once");
    }
    let is_created = |line: &&str| line.contains("\"CREATE\"");
    let every_creation: Vec<&str> = log.lines().filter(is_created).collect();
    let (lines, missed) = compared(&created.join(), &every_creation);
    assert!(lines + missed >= 100_000, "{lines} and {missed}");
    for reader in [stopped, slow] {
        let (lines, missed) = compared(&reader.join(), &every);
        assert!(missed > 0, "nothing was missed");
        assert!(lines + missed >= 200_000, "{lines} and {missed} of {all}");
    }
    println!("peak {peak} KiB, {all} lines");
    // What may be held of events, of lines for files and of lines for readers, and the program itself.
    const CEILINGS: u64 = (32 + 16 + 16 + 8) * 1024;
    assert!(peak < CEILINGS, "{peak} KiB");
}

/// How many lines a reader got, and how many it was told to have missed: with those in their places, it is the end
/// of the log.
fn compared(got: &[u8], log: &[&str]) -> (usize, usize) {
    let got = str::from_utf8(got).unwrap();
    let missed_by = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["lost"].as_u64().map(|lost| lost as usize)
    };
    let is_marker = |line: &&str| line.contains("\"event_type\":\"GAP\"");
    let markers = got.lines().filter(is_marker);
    let missed: usize = markers.filter_map(missed_by).sum();
    let lines = got.lines().filter(|line| !is_marker(line)).count();
    let mut at = log.len() - lines - missed;
    for line in got.lines() {
        if is_marker(&line) {
            at += missed_by(line).unwrap();
        } else {
            assert_eq!(line, log[at], "not as it stands in the log");
            at += 1;
        }
    }
    (lines, missed)
}

/// Without a gap and without a double, also when the log is read while a flood goes on.
fn log_first() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = home.start();
    let mut workers = flood::workers(&root, 8_000);
    for worker in &mut workers {
        worker.go();
    }
    let mut tails = Vec::new();
    for number in 0..6 {
        let shown = ground.dir.join(format!("tail{number}"));
        let mut program = home.command(&["tail", "_global", "--since", "1h"]);
        program.stdout(fs::File::create(&shown).unwrap());
        tails.push((program.spawn().unwrap(), shown));
        // Each begins at another place of the flood.
        let least = (number + 1) * 400_000;
        until(PATIENCE, || {
            let length = fs::metadata(home.log_path("_global")).map_or(0, |meta| meta.len());
            (length > least || workers.iter_mut().all(crate::workers::Worker::is_done))
                .then_some(())
        });
    }
    for worker in workers {
        worker.finish();
    }
    recorder.settle("_global", &root);
    let log = fs::read(home.log_path("_global")).unwrap();
    for (mut tail, shown) in tails {
        let whole = until(PATIENCE, || {
            let got = fs::read(&shown).unwrap();
            (got.len() >= log.len()).then_some(())
        });
        tail.kill().unwrap();
        tail.wait().unwrap();
        let got = fs::read(&shown).unwrap();
        assert!(whole.is_some(), "{} of {} bytes", got.len(), log.len());
        assert!(got.starts_with(&log), "not what stands in the log");
    }
    recorder.stop();
}

/// `tail | head -1` is done with the first line, and with a reader that goes while nothing happens.
fn ends_with_its_reader() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let without = home.run(&["tail"]);
    assert_eq!(without.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without.stderr).contains("the daemon is not running"));
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let recorder = home.start();
    let mut tail = home
        .command(&["tail"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap());
    let mut line = String::new();
    // It is not listening yet, perhaps.
    let mut number = 0;
    let began = Instant::now();
    let (sender, first) = std::sync::mpsc::channel();
    thread::spawn(move || {
        lines.read_line(&mut line).unwrap();
        sender.send((line, lines)).unwrap();
    });
    let (line, lines) = until(PATIENCE, || {
        number += 1;
        fs::write(root.join(number.to_string()), "").unwrap();
        first.try_recv().ok()
    })
    .unwrap();
    assert!(line.contains("\"CREATE\""), "{line}");
    assert!(began.elapsed() < PATIENCE);
    drop(lines);
    let status = until(PATIENCE, || tail.try_wait().unwrap());
    assert_eq!(status.unwrap().code(), Some(0));
    // The daemon's end is said.
    let mut tail = home
        .command(&["tail"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap());
    let mut line = String::new();
    let (sender, first) = std::sync::mpsc::channel();
    thread::spawn(move || {
        lines.read_line(&mut line).unwrap();
        sender.send(lines).unwrap();
    });
    let lines = until(PATIENCE, || {
        number += 1;
        fs::write(root.join(number.to_string()), "").unwrap();
        first.try_recv().ok()
    });
    recorder.stop();
    let status = until(PATIENCE, || tail.try_wait().unwrap());
    assert_eq!(status.unwrap().code(), Some(1));
    let mut said = String::new();
    tail.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(said.contains("the daemon has stopped"), "{said}");
    drop(lines);
}

fn selects() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    home.watch("mkdir", &root, &["-r"]);
    let mut recorder = home.start();
    let words = [
        &["tail", "mkdir"][..],
        &["tail", "-p", "under", "-t", "create,delete"],
        &["tail"],
    ];
    let mut tails = Vec::new();
    for (number, words) in words.iter().enumerate() {
        let shown = ground.dir.join(format!("tail{number}"));
        let mut program = home.command(words);
        program
            .current_dir(&root)
            .stdout(fs::File::create(&shown).unwrap());
        tails.push((program.spawn().unwrap(), shown));
    }
    let shown = |at: usize| fs::read_to_string(ground.dir.join(format!("tail{at}"))).unwrap();
    // Until all of them listen.
    let listening = until(PATIENCE, || {
        fs::create_dir_all(root.join("under/x")).unwrap();
        fs::remove_dir_all(root.join("under/x")).unwrap();
        run("mkdir", &root.join("early"));
        fs::remove_dir(root.join("early")).unwrap();
        (0..3).all(|at| !shown(at).is_empty()).then_some(())
    });
    assert!(listening.is_some());
    recorder.settle("_global", &root);
    run("mkdir", &root.join("made"));
    run("touch", &root.join("underneath"));
    run("touch", &root.join("under/file"));
    recorder.settle("_global", &root);
    let last = until(PATIENCE, || shown(2).contains("/under/file").then_some(()));
    assert!(last.is_some());
    let has = |at: usize, text: &str| shown(at).contains(text);
    until(PATIENCE, || has(1, "/under/file").then_some(()));
    until(PATIENCE, || has(0, "/made").then_some(()));
    assert_eq!(
        [
            has(0, "/made\""),
            has(0, "/under/file"),
            has(0, "/underneath")
        ],
        [true, false, false]
    );
    assert_eq!(
        [
            has(1, "/made\""),
            has(1, "/under/file\""),
            has(1, "/underneath")
        ],
        [false, true, false]
    );
    let is_dir = |name: &str| {
        let shown = shown(2);
        let lines: Vec<&str> = shown.lines().filter(|line| line.contains(name)).collect();
        assert!(!lines.is_empty(), "{name} is not shown");
        let told = lines
            .iter()
            .filter(|line| line.contains("\"object\":\"dir\""));
        (told.count(), lines.len())
    };
    assert_eq!(is_dir("/underneath\"").0, 0);
    let (told, all) = is_dir("/made\"");
    assert_eq!(told, all);
    assert!(!has(1, "CLOSE_WRITE") && has(2, "CLOSE_WRITE"));
    for (mut tail, _) in tails {
        kill_process(Pid::from_child(&tail), Signal::TERM).unwrap();
        assert!(tail.wait().unwrap().code().is_none());
    }
    recorder.stop();
}

/// Also when nothing happens that could be sent to them.
fn gone() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let recorder = home.start();
    for round in 0..3 {
        let clients: Vec<_> = (0..32)
            .map(|_| subscribe(&home, "paths = [\"/nowhere\"]"))
            .collect();
        for client in &clients {
            // Some end their sending first.
            if round == 1 {
                client
                    .get_ref()
                    .shutdown(std::net::Shutdown::Write)
                    .unwrap();
            }
        }
        drop(clients);
        let left = until(PATIENCE, || {
            let told = home.ok(&["health", "--json"]);
            let told: serde_json::Value = serde_json::from_str(&told).unwrap();
            (told["queues"]["readers"] == 0).then_some(())
        });
        assert!(left.is_some(), "round {round}");
    }
    recorder.stop();
}

fn health() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Ext4);
    let home = Home::new(&ground);
    let without = home.run(&["health"]);
    assert_eq!(without.status.code(), Some(1));
    home.watch(
        "_global",
        &root,
        &["-r", "-t", "CREATE", "-x", "hidden/", "-x", "*.tmp"],
    );
    let later = root.join("later");
    home.watch("nobody-of-this", &later, &["-r", "-t", "CREATE"]);
    fs::create_dir(root.join("hidden")).unwrap();
    let mut recorder = home.start();
    fs::write(root.join("hidden/file"), "").unwrap();
    fs::write(root.join("one.tmp"), "").unwrap();
    fs::create_dir(&later).unwrap();
    fs::remove_dir(&later).unwrap();
    for number in 0..100 {
        fs::write(root.join(number.to_string()), "").unwrap();
    }
    recorder.settle("_global", &root);
    let listening = subscribe(&home, "");
    let text = home.ok(&["health", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |group: &str, key: &str| told[group][key].as_u64().unwrap();
    assert_eq!(told["pid"], recorder.pid());
    // One more for the marker, and one for the path that came and went.
    assert_eq!(number("events", "lines"), 102);
    assert_eq!(number("events", "exact"), 102);
    let left_out = &told["events"]["left_out"];
    // A creation and the closing of each of the two files may be one record or two; the other watch sees one creation.
    let excluded = left_out["exclude"].as_u64().unwrap();
    assert!((2..=6).contains(&excluded), "{left_out}");
    assert_eq!(
        (&left_out["size"], &left_out["group"]),
        (&0.into(), &1.into())
    );
    let rings = (
        number("queues", "ring_most_bytes"),
        number("queues", "ring_bytes"),
    );
    assert!(rings.0 > 0 && rings.0 <= rings.1, "{rings:?}");
    let there = |at: usize| {
        let watch = &told["watches"][at];
        (
            watch["group"].as_str().unwrap(),
            &watch["there"],
            &watch["way"],
        )
    };
    let (yes, no) = (true.into(), false.into());
    assert_eq!(there(0), ("_global", &yes, &"filesystem".into()));
    assert_eq!(there(1), ("nobody-of-this", &no, &"filesystem".into()));
    assert!(number("events", "records") >= 101);
    for kind in ["events", "lines", "process_records", "malformed"] {
        assert_eq!(number("losses", kind), 0, "{kind}");
    }
    assert_eq!(
        (number("queues", "readers"), number("known", "watches")),
        (1, 2)
    );
    assert_eq!(told["filesystems"][0]["fstype"], "ext4");
    assert_eq!(told["filesystems"][0]["way"], "filesystem");
    assert_eq!(told["filesystems"][0]["point"], root.to_str().unwrap());
    drop(listening);
    let text = home.ok(&["health"]);
    for words in [
        "102 lines: 102 exact",
        "later, which is not there, by a mark on the filesystem",
        "lost        nothing",
        "(ext4), by a mark on the filesystem",
    ] {
        assert!(text.contains(words), "{text}");
    }
    recorder.stop();
}

fn run(program: &str, path: &Path) {
    assert!(Command::new(program).arg(path).status().unwrap().success());
}
