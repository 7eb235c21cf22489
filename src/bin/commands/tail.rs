//! `fsmon tail`

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, IsTerminal as _, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use fsmon::config::Config;
use fsmon::event::{EventType, TypeSet, WallTime};
use fsmon::filters::ParseError;
use fsmon::filters::time::{TimeFilter, TimeWindow};
use fsmon::log::alert::note_of;
use fsmon::log::line::{LogLine, decode, glance, time_of};
use fsmon::monitored::GroupName;
use fsmon::query::{self, QueryRequest};
use fsmon::socket::{CallError, ErrorKind, Request, subscribe};

use super::look::Look;
use super::question::{report, spellings};
use super::ticker::Ticker;
use super::{Failure, Outcome, end_with_reader, load_config, now, parse_log};

/// Shows events as they are recorded, without asking the disk
///
///   fsmon tail                                   everything that is watched
///   fsmon tail agent -p /srv -t create,delete    what the agent makes and removes there
///   fsmon tail --since 5m | jq .path             the last five minutes first; JSONL in a pipe
///   fsmon tail --alerts                          what rules have to say
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Whose logs; all but the alerts when absent.
    #[arg(value_hint = clap::ValueHint::Other)]
    cmd: Vec<String>,
    /// Show alerts; alone, or with the groups that are named.
    #[arg(long)]
    alerts: bool,
    /// Only this path and what is below; may be repeated.
    #[arg(short = 'p', long = "path", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only these types of events; may be repeated, comma lists too.
    #[arg(short, long = "types", value_name = "TYPES")]
    types: Vec<String>,
    /// Begin with what the logs hold from then on: an age (30s 5m 2h) or a time, as for `query`.
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    since: Option<String>,
    /// Print the lines as they stand in the logs, also on a terminal.
    #[arg(long)]
    json: bool,
}

/// What is wanted, understood.
struct Wanted {
    groups: Option<Vec<GroupName>>,
    paths: Vec<Vec<u8>>,
    types: TypeSet,
    since: Option<WallTime>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let wanted = wanted(args, &config)?;
    let request = wanted.request()?;
    let live = listen(&config, &request)?;
    end_with_reader();
    let mut out = Out::new(args.json);
    // What was read from the logs may come once more from the daemon.
    let mut twice = Twice::default();
    let lines = match wanted.since {
        None => Lines::Straight(live),
        Some(since) => {
            // The daemon keeps lines for a slow reader, but not for one that reads a whole log first.
            let lines = gather(live);
            log_first(&wanted, since, &config, &mut out, &mut twice)?;
            Lines::Gathered(lines)
        }
    };
    lines.each(&mut |line| {
        if twice.was_shown(line) {
            return Ok(());
        }
        out.line(line)
    })?;
    Err(anyhow!("the daemon has stopped").into())
}

fn wanted(args: &Args, config: &Config) -> Result<Wanted, Failure> {
    let mut groups = Vec::new();
    for cmd in &args.cmd {
        groups.push(parse_log(cmd)?);
    }
    if args.alerts && !groups.iter().any(GroupName::is_alerts) {
        groups.push(GroupName::alerts());
    }
    let mut paths = Vec::new();
    for typed in &args.paths {
        paths.extend(spellings(typed, config)?);
    }
    let types = if args.types.is_empty() {
        TypeSet::ALL
    } else {
        TypeSet::parse(&args.types).map_err(Failure::usage)?
    };
    let since = args.since.as_deref().map(|text| -> Result<_, ParseError> {
        // `5m` alone means: what is at most five minutes old.
        let filter = TimeFilter::parse(text, now())?;
        Ok(TimeWindow::from_filters(&[filter]).first)
    });
    Ok(Wanted {
        groups: (!groups.is_empty()).then_some(groups),
        paths,
        types,
        since: since.transpose().map_err(Failure::usage)?,
    })
}

impl Wanted {
    fn request(&self) -> Result<Request, Failure> {
        let name = |group: &GroupName| group.as_str().to_owned();
        let groups = self.groups.as_ref();
        let groups = groups.map(|groups| groups.iter().map(name).collect());
        let mut paths = Vec::new();
        for path in &self.paths {
            let path = String::from_utf8(path.clone());
            paths.push(path.map_err(|_| anyhow!("a path to be shown live has to be UTF-8"))?);
        }
        let types = self.types.iter().map(|kind| kind.name().to_owned());
        Ok(Request::subscribe(
            groups,
            (!paths.is_empty()).then_some(paths),
            (self.types != TypeSet::ALL).then(|| types.collect()),
        ))
    }
}

/// Asks the daemon until it can answer: a log may be held by `clean` for a moment.
fn listen(config: &Config, request: &Request) -> Result<BufReader<UnixStream>, Failure> {
    let until = Instant::now() + BUSY;
    loop {
        match subscribe(&config.paths.socket, config.uid, request) {
            Ok(live) => return Ok(live),
            Err(CallError::Refused {
                kind: Some(ErrorKind::Transient),
                ..
            }) if Instant::now() < until => thread::park_timeout(Duration::from_millis(50)),
            Err(error @ CallError::NotRunning) => {
                return Err(Failure::from(anyhow!(error)).hint("start it with `sudo fsmon daemon`"));
            }
            Err(error) => return Err(anyhow!(error).into()),
        }
    }
}

/// Where live lines come from.
enum Lines {
    Straight(BufReader<UnixStream>),
    Gathered(Receiver<io::Result<Vec<u8>>>),
}

impl Lines {
    fn each(self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> anyhow::Result<()> {
        match self {
            Self::Straight(mut live) => {
                let mut line = Vec::new();
                while read_line(&mut live, &mut line).context(BROKEN)? {
                    take(&line)?;
                }
            }
            Self::Gathered(lines) => {
                for line in lines {
                    take(&line.context(BROKEN)?)?;
                }
            }
        }
        Ok(())
    }
}

/// Reads on a thread of its own, as fast as the daemon sends.
fn gather(mut live: BufReader<UnixStream>) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, lines) = sync_channel(GATHERED);
    thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            let read = read_line(&mut live, &mut line);
            let is_end = matches!(read, Ok(false) | Err(_));
            if !matches!(read, Ok(false)) && sender.send(read.map(|_| line)).is_err() || is_end {
                return;
            }
        }
    });
    lines
}

/// Reads the next whole line; false at the end.
fn read_line(live: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    live.read_until(b'\n', line)?;
    Ok(line.ends_with(b"\n"))
}

/// Shows what the logs hold, and remembers what the daemon may send again.
fn log_first(
    wanted: &Wanted,
    since: WallTime,
    config: &Config,
    out: &mut Out,
    twice: &mut Twice,
) -> Result<(), Failure> {
    let names = wanted.groups.as_ref();
    let names = names.map(|groups| groups.iter().map(GroupName::log_file_name).collect());
    let request = QueryRequest {
        log_dir: config.paths.log_dir.clone(),
        logs: names,
        paths: wanted.paths.clone(),
        window: TimeWindow {
            first: since,
            ..TimeWindow::ALL
        },
        scan: false,
    };
    twice.from = WallTime(now().0 - UNCERTAIN);
    let mut split = Split {
        rest: Vec::new(),
        take: |line: &[u8]| {
            if !is_of(line, wanted.types) {
                return Ok(());
            }
            twice.note(line);
            out.line(line)
        },
    };
    let outcome = query::run(&request, &mut split)?;
    report(&outcome);
    Ok(())
}

fn is_of(line: &[u8], types: TypeSet) -> bool {
    let Some(seen) = glance(line) else {
        return false;
    };
    let kind = std::str::from_utf8(seen.event_type).ok();
    let kind = kind.and_then(|name| name.parse::<EventType>().ok());
    seen.is_gap() || kind.is_none_or(|kind| types.contains(kind))
}

/// Cuts what is written into lines.
struct Split<F> {
    rest: Vec<u8>,
    take: F,
}

impl<F: FnMut(&[u8]) -> io::Result<()>> Write for Split<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                (self.take)(&self.rest)?;
                self.rest.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that were shown already, and may come again.
#[derive(Default)]
struct Twice {
    /// Older ones do not come again.
    from: WallTime,
    until: WallTime,
    hasher: RandomState,
    shown: HashMap<(u64, usize), u32>,
}

impl Twice {
    fn note(&mut self, line: &[u8]) {
        let Some(time) = time_of(line).filter(|time| *time >= self.from) else {
            return;
        };
        self.until = self.until.max(time);
        *self.shown.entry(self.key(line)).or_default() += 1;
    }

    fn was_shown(&mut self, line: &[u8]) -> bool {
        if self.shown.is_empty() {
            return false;
        }
        let key = self.key(line);
        if let Some(count) = self.shown.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.shown.remove(&key);
            }
            return true;
        }
        // What comes now is younger than all that was read.
        if time_of(line).is_some_and(|time| time.0 > self.until.0.saturating_add(UNCERTAIN)) {
            self.shown.clear();
        }
        false
    }

    fn key(&self, line: &[u8]) -> (u64, usize) {
        // What was cut in place has blanks in front.
        let line = line.trim_ascii_start();
        (self.hasher.hash_one(line), line.len())
    }
}

/// Lines on their way out.
struct Out {
    /// On a terminal.
    ticker: Option<Ticker>,
    text: String,
}

impl Out {
    fn new(json: bool) -> Self {
        let is_read = !json && io::stdout().is_terminal();
        Self {
            ticker: is_read.then(|| Ticker::new(Look::of_terminal())),
            text: String::new(),
        }
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let Some(ticker) = &mut self.ticker else {
            // Each line at once: this is for those who wait for it.
            out.write_all(line)?;
            return out.flush();
        };
        self.text.clear();
        match decode(line) {
            Some(LogLine::Event(event)) => match note_of(line) {
                Some(note) => ticker.alert(&event, &note, &mut self.text),
                None => ticker.event(&event, &mut self.text),
            },
            Some(LogLine::Gap(gap)) => ticker.gap(&gap, &mut self.text),
            None => return Ok(()),
        }
        out.write_all(self.text.as_bytes())?;
        out.flush()
    }
}

/// So many lines are kept while the logs are read; beyond that the daemon says what is missed.
const GATHERED: usize = 100_000;
/// So long the daemon may be unable to answer.
const BUSY: Duration = Duration::from_secs(10);
/// In nanoseconds: no event takes so long to be recorded.
const UNCERTAIN: i64 = 60_000_000_000;
const BROKEN: &str = "cannot listen to the daemon any longer";
