//! `fsmon watch`

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::num::NonZeroU32;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use fsmon::config::Config;
use fsmon::event::{EventType, TypeSet, WallTime};
use fsmon::filters::pattern::PathPattern;
use fsmon::log::alert::{Note, encode_alert};
use fsmon::log::line::{Gap, encode_event, encode_gap};
use fsmon::monitor::NoFanotify;
use fsmon::monitor::foreground::{self, Gated, OPENS, Sight, THROUGH_MOUNT, Wishes, whole};
use fsmon::monitor::gate::Scope;
use fsmon::monitor::report::Reporter;
use fsmon::monitor::watchman::{Watchman, read_policy};
use fsmon::monitored::path::quoted;
use fsmon::monitored::{GroupName, Watch, WatchOptions, WatchSet};
use fsmon::pipeline::Loss;
use fsmon::policy::{Hook, HookCommand, Policy, Rule};

use super::look::Look;
use super::tally::Tally;
use super::ticker::Ticker;
use super::{
    Failure, Outcome, absolute_path, csv, end_with_reader, load_config, parse_group, policy,
    resolved_path, say,
};

/// Shows what happens right now, without daemon and store; needs root
///
/// Ends with Ctrl-C, which prints a summary, or when its reader does.
///
///   sudo fsmon watch                                   everything below this directory
///   sudo fsmon watch /etc --cmd apt -x '*.swp'         what apt and its children do there
///   sudo fsmon watch / --types delete --format csv     every deletion
///   sudo fsmon watch --opens /home                     who opens which file, on that whole filesystem
///   sudo fsmon watch /srv --canary '/srv/**/.canary' --burst 100
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What to watch: directories or files [default: the current directory].
    paths: Vec<PathBuf>,
    /// How deep below the path; 0 is the path alone [default: everything].
    #[arg(long, value_name = "N", conflicts_with = "opens")]
    depth: Option<u32>,
    /// Types of events: a name, a comma list or `all`; may be repeated [default: as for `fsmon add`].
    #[arg(short, long, value_name = "TYPE", conflicts_with = "opens")]
    types: Vec<String>,
    /// Only files of such a size: [OP]NUM[UNIT], for instance >=1MB.
    #[arg(short, long, value_name = "EXPR", allow_hyphen_values = true)]
    size: Option<String>,
    /// Only what this program and all its children do.
    #[arg(short, long, value_name = "CMD")]
    cmd: Option<String>,
    /// Leave out what matches, as in a .gitignore at the path; may be repeated.
    #[arg(short = 'x', long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// How to print [default: human on a terminal, json in a pipe or file].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print into this file; it is made anew.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// End after so many seconds.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Every opening of a file, and every closing of one that was written, on the whole filesystem of the path.
    #[arg(long)]
    opens: bool,
    /// Only what goes through the mount that the path is on: openings, readings and writings, all on that mount.
    #[arg(long, conflicts_with = "depth")]
    mount: bool,
    /// With --opens: see openings before they succeed, by permission events; each waits for an answer, which comes
    /// before anything is printed.
    #[arg(long, requires = "opens", conflicts_with_all = ["cmd", "size", "exclude"])]
    gate: bool,
    /// Rules as `fsmon daemon` has them.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Alert when a path that matches is opened, modified, renamed or deleted: `*` within a name, `**` across;
    /// may be repeated.
    #[arg(long, value_name = "PATTERN")]
    canary: Vec<String>,
    /// Alert when one process causes so many changes within --burst-window.
    #[arg(long, value_name = "N")]
    burst: Option<NonZeroU32>,
    /// In milliseconds.
    #[arg(long, value_name = "MS", default_value = "1000")]
    burst_window: u64,
    /// How long a rule is silent about a process after an alert, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "5000")]
    cooldown: u64,
    /// What /bin/sh is to run for each alert; it finds FAN_KIND, FAN_PID, FAN_COMM, FAN_EXE, FAN_PATH and FAN_REASON.
    #[arg(long, value_name = "COMMAND")]
    hook: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Human,
    Json,
    Csv,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let mut wishes = Wishes {
        watches: watches(args, &config)?,
        watchman: watchman(args, &config)?,
        gated: gated(args, &config)?,
        time: args.seconds.map(Duration::from_secs),
        output: PathBuf::from("/proc/self/fd/1"),
        give_up,
    };
    let mut shown = Shown::new(args)?;
    if let Some(output) = &shown.output {
        wishes.output.clone_from(output);
    }
    if args.output.is_none() {
        end_with_reader();
    }
    let reporter = Arc::new(Reporter::quiet());
    let mut ready = || {
        if io::stderr().is_terminal() {
            say("fsmon: watching; Ctrl-C ends it");
        }
    };
    let watched = foreground::watch(&config, wishes, &reporter, &mut ready, &mut |sight| {
        shown.show(&sight)
    });
    reporter.finish();
    let watched = watched.map_err(|error| {
        let hint = error.downcast_ref().and_then(NoFanotify::hint);
        let error = match &args.output {
            Some(file) if error.is::<io::Error>() => {
                error.context(format!("cannot write {}", quoted(file)))
            }
            _ => error,
        };
        let failure = Failure::from(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    });
    watched?;
    for line in shown.tally.tell().lines() {
        say(line);
    }
    Ok(ExitCode::SUCCESS)
}

fn watches(args: &Args, config: &Config) -> Result<WatchSet, Failure> {
    let here = [PathBuf::from(".")];
    let paths = if args.paths.is_empty() {
        &here[..]
    } else {
        &args.paths
    };
    let group = match &args.cmd {
        Some(cmd) => parse_group(cmd)?,
        None => GroupName::global(),
    };
    let mut set = WatchSet::default();
    for typed in paths {
        if args.gate {
            continue;
        }
        let options = WatchOptions {
            recursive: Some(true),
            types: types(args)?,
            size: args.size.clone(),
            exclude: (!args.exclude.is_empty()).then(|| args.exclude.clone()),
            max_depth: args.depth,
        };
        if args.opens || args.mount {
            let dir = absolute_path(typed, config)?;
            // Checked before the machine is asked, so that a mistake is told as one.
            Watch::new(group.clone(), &dir, &options).map_err(Failure::usage)?;
            for mut watch in whole(&dir, args.mount, &options)?.watches {
                watch.group = group.clone();
                watch.files_only = args.opens;
                set.add_or_replace(watch);
            }
            continue;
        }
        let path = resolved_path(typed, config)?;
        if path.symlink_metadata().is_err() {
            say(format_args!(
                "fsmon: {} does not exist yet; it is watched from its creation on",
                quoted(&path)
            ));
        }
        let watch = Watch::new(group.clone(), &path, &options).map_err(Failure::usage)?;
        set.add_or_replace(watch);
    }
    Ok(set)
}

/// The types that are asked for; `None` is the default.
fn types(args: &Args) -> Result<Option<Vec<String>>, Failure> {
    let names = |types: TypeSet| types.iter().map(|kind| kind.name().to_owned()).collect();
    if args.opens {
        return Ok(Some(names(OPENS)));
    }
    if args.types.is_empty() {
        let through_mount = OPENS.with(EventType::Modify);
        return Ok(args.mount.then(|| names(through_mount)));
    }
    if args.mount {
        let asked = TypeSet::parse(&args.types).map_err(Failure::usage)?;
        if let Some(kind) = asked.iter().find(|kind| !THROUGH_MOUNT.contains(*kind)) {
            let error = anyhow!("the kernel tells no {kind} for a single mount");
            let hint = "leave --mount out: a path is watched as it is seen through its mount";
            return Err(Failure::usage(error).hint(hint));
        }
    }
    Ok(Some(args.types.clone()))
}

/// Where the gate is to be looked at instead.
fn gated(args: &Args, config: &Config) -> Result<Option<Gated>, Failure> {
    if !args.gate {
        return Ok(None);
    }
    let dir = match &args.paths[..] {
        [] => PathBuf::from("."),
        [dir] => dir.clone(),
        _ => {
            let error = anyhow!("--gate looks at one filesystem only");
            return Err(Failure::usage(error).hint("leave --gate out, or name one path"));
        }
    };
    Ok(Some(Gated {
        dir: absolute_path(&dir, config)?,
        scope: if args.mount {
            Scope::Mount
        } else {
            Scope::Filesystem
        },
    }))
}

/// The rules of the file that is named, and those that the flags make.
fn watchman(args: &Args, config: &Config) -> Result<Watchman, Failure> {
    let mut rules = match &args.policy {
        Some(file) => read_policy(file).map_err(|error| policy::failure(file, error))?,
        None => Policy::default(),
    };
    let mut made = Vec::new();
    if !args.canary.is_empty() {
        let mut patterns = Vec::new();
        for typed in &args.canary {
            let whole = absolute_path(Path::new(typed), config)?;
            let text = whole.to_str().unwrap_or(typed);
            patterns.push(PathPattern::parse(text).map_err(Failure::usage)?);
        }
        made.push(Rule::canary("--canary", patterns));
    }
    if let Some(count) = args.burst {
        let window = Duration::from_millis(args.burst_window.max(1));
        made.push(Rule::burst("--burst", count, window));
    }
    if made.is_empty() && args.hook.is_some() && rules.rules.is_empty() {
        let error = anyhow!("--hook has no alert to wait for");
        return Err(Failure::usage(error).hint("name one with --canary or --burst"));
    }
    for rule in &mut made {
        rule.cooldown = Duration::from_millis(args.cooldown);
        rule.hook = args.hook.as_ref().map(|text| Hook {
            run: HookCommand::Shell(text.clone()),
            user: None,
            timeout: Hook::DEFAULT_TIMEOUT,
        });
    }
    rules.rules.extend(made);
    Ok(Watchman::new(rules, None))
}

/// Ends the program though its output is stuck: nobody reads it, and it has to end.
fn give_up() {
    say("fsmon: error: the output is stuck, so its end is missing");
    #[expect(
        clippy::exit,
        reason = "the thread that would end it waits for its output"
    )]
    process::exit(1);
}

/// What was seen, on its way out.
struct Shown {
    /// The open file that is written to, if it is not standard output.
    output: Option<PathBuf>,
    out: BufWriter<Box<dyn Write>>,
    drawing: Drawing,
    tally: Tally,
    text: String,
    line: Vec<u8>,
}

enum Drawing {
    Human(Box<Ticker>),
    Json,
    Csv,
}

impl Shown {
    fn new(args: &Args) -> Result<Self, Failure> {
        let is_terminal = args.output.is_none() && io::stdout().is_terminal();
        let format = args.format.unwrap_or(if is_terminal {
            Format::Human
        } else {
            Format::Json
        });
        let mut output = None;
        let out: Box<dyn Write> = match &args.output {
            Some(file) => {
                let file =
                    File::create(file).with_context(|| format!("cannot write {}", quoted(file)))?;
                output = Some(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())));
                Box::new(file)
            }
            None => Box::new(io::stdout()),
        };
        let mut shown = Self {
            output,
            out: BufWriter::with_capacity(BUFFER, out),
            drawing: match format {
                Format::Human => {
                    let mut look = Look::of_terminal();
                    look.colours &= is_terminal;
                    if !is_terminal {
                        look.width = usize::MAX;
                    }
                    Drawing::Human(Box::new(Ticker::new(look).with_programs(args.opens)))
                }
                Format::Json => Drawing::Json,
                Format::Csv => Drawing::Csv,
            },
            tally: Tally::default(),
            text: String::new(),
            line: Vec::new(),
        };
        if matches!(shown.drawing, Drawing::Csv) {
            shown.out.write_all(csv::HEAD.as_bytes())?;
        }
        Ok(shown)
    }

    fn show(&mut self, sight: &Sight<'_>) -> io::Result<()> {
        self.text.clear();
        self.line.clear();
        match sight {
            Sight::Event(event) => {
                self.tally.event(event);
                match &mut self.drawing {
                    Drawing::Human(ticker) => ticker.event(event, &mut self.text),
                    Drawing::Json => encode_event(event, &mut self.line),
                    Drawing::Csv => csv::event(event, None, &mut self.text),
                }
            }
            Sight::Alert(event, note) => {
                self.tally.alert();
                self.alert(event, note);
            }
            Sight::Lost(loss) => {
                self.tally.gap(loss.count);
                let gap = gap_of(loss);
                match &mut self.drawing {
                    Drawing::Human(ticker) => ticker.gap(&gap, &mut self.text),
                    Drawing::Json => encode_gap(&gap, &mut self.line),
                    Drawing::Csv => csv::gap(&gap, &mut self.text),
                }
            }
            Sight::Pause => return self.out.flush(),
        }
        self.out.write_all(self.text.as_bytes())?;
        self.out.write_all(&self.line)
    }

    fn alert(&mut self, event: &fsmon::event::FileEvent, note: &Note<'_>) {
        match &mut self.drawing {
            Drawing::Human(ticker) => ticker.alert(event, note, &mut self.text),
            Drawing::Json => encode_alert(event, note, &mut self.line),
            Drawing::Csv => csv::event(event, Some(note), &mut self.text),
        }
    }
}

fn gap_of(loss: &Loss) -> Gap<'static> {
    Gap {
        time: WallTime(loss.until.0.max(loss.since.0)),
        lost: loss
            .count
            .map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX)),
        cause: loss.cause.into(),
        since: loss.since,
    }
}

const BUFFER: usize = 64 * 1024;
