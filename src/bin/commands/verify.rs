//! `fsmon verify`

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use chrono::DateTime;
use fsmon::config::Config;
use fsmon::event::WallTime;
use fsmon::filters::time::TimeWindow;
use fsmon::log::chain::Link;
use fsmon::monitored::WatchOptions;
use fsmon::monitored::path::quoted;
use fsmon::query::account::{Comparison, Piece, State, Story};
use fsmon::query::verify::{Verdict, VerifyRequest, verify};
use fsmon::socket::{CallError, Request, call};
use serde_json::{Value, json};

use super::look::{GREEN, Look, RED, YELLOW, harmless, in_full};
use super::question::Times;
use super::{Failure, Outcome, load_config, now, parse_log};

/// Says over which times, and for which paths, the logs are complete; exits with 1 when something is missing
///
/// It reads the journal, in which the daemon keeps when it started and stopped, what it watched, and what it lost.
/// Without a time it is about everything from the first watch to the end of recording.
///
///   fsmon verify                        all groups
///   fsmon verify _global -t '>1d'       the last day, and every moment of it
///   fsmon verify --expect 42:9f86d0...  is line 42 of the journal still the one that it was?
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Whose log; all logs when absent.
    #[arg(value_hint = clap::ValueHint::Other)]
    cmd: Option<String>,
    #[command(flatten)]
    times: Times,
    /// A line that was in the journal when somebody looked, NUMBER:HASH; may be repeated.
    #[arg(long, value_name = "LINE")]
    expect: Vec<Link>,
    /// Read this journal instead; pieces of one that was rotated, the oldest first.
    #[arg(short, long, value_name = "FILE")]
    journal: Vec<PathBuf>,
    /// As JSON, one object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let group = args.cmd.as_deref().map(parse_log).transpose()?;
    // Asked first: what the daemon wrote last must be in a journal that is read afterwards.
    let daemon = daemon(&config)?;
    let request = VerifyRequest {
        log_dir: config.paths.log_dir,
        journal: args.journal.clone(),
        group: group.map(|group| group.to_string()),
        window: args.times.window()?,
        daemon,
        expected: args.expect.clone(),
        now: now(),
    };
    let verdict = verify(&request).with_context(|| {
        let what = request.journal.first().unwrap_or(&request.log_dir);
        format!("cannot read the journal in {}", quoted(what))
    })?;
    if verdict.no_journal && !args.json {
        let error = anyhow!("there is no journal in {}", quoted(&request.log_dir));
        return Err(Failure::from(error)
            .hint("nothing was ever recorded there, or the journal has been taken away"));
    }
    let mut text = if args.json {
        as_json(&verdict).to_string()
    } else {
        told(&verdict, &request)
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if verdict.is_complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The daemon that records into these logs, if one does.
fn daemon(config: &Config) -> Result<Option<(u32, Option<Link>)>, Failure> {
    match call(&config.paths.socket, config.uid, &Request::health()) {
        Ok(reply) => Ok(reply.health.map(|health| {
            let head = health.journal.and_then(|head| head.parse().ok());
            (health.pid, head)
        })),
        Err(CallError::NotRunning) => Ok(None),
        Err(error) => Err(anyhow!(error)
            .context("cannot ask the daemon whether it records")
            .into()),
    }
}

fn told(verdict: &Verdict, request: &VerifyRequest) -> String {
    let look = io::stdout().is_terminal().then(Look::of_terminal);
    let paint = |style: &str, text: &str| {
        look.map_or_else(|| text.to_owned(), |look| look.paint(style, text))
    };
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").expect("a String takes every write");
    let head = verdict
        .head
        .map_or_else(String::new, |head| format!(", the last is {head}"));
    let state = if verdict.breaks.is_empty() {
        "unbroken".to_owned()
    } else {
        paint(RED, "BROKEN")
    };
    say(format!("journal: {state}, {} lines{head}", verdict.lines));
    for breach in &verdict.breaks {
        let place = match breach.line {
            0 => String::new(),
            line => format!("line {line}: "),
        };
        say(format!("  {}{}", paint(RED, &place), breach.why));
    }
    for (time, step) in &verdict.clock {
        let (seconds, way) = (
            step.unsigned_abs() / 1_000_000_000,
            if *step < 0 { "back" } else { "forward" },
        );
        let effect = if *step < 0 {
            "; times stood still until it had caught up"
        } else {
            ""
        };
        say(format!(
            "clock: set {way} by {seconds} s at {}{effect}",
            moment(*time)
        ));
    }
    for note in &verdict.notes {
        say(format!(
            "{}: {}",
            paint(RED, &harmless(&note.log)),
            note.what
        ));
    }
    for story in &verdict.stories {
        say(format!(
            "{} {}{}",
            harmless(&story.group),
            in_full(&story.path),
            settings(story)
        ));
        for piece in &story.pieces {
            let (style, mut state) = words(&piece.state);
            state += &found_out(verdict.comparison_of(story, piece));
            let to = if is_now(story, piece) {
                "now".to_owned()
            } else {
                moment(piece.to)
            };
            say(format!(
                "  {} .. {to:<23}  {}",
                moment(piece.from),
                paint(style, &state)
            ));
        }
        if let (Some(after), Some(last)) = (&story.after, story.pieces.last())
            && last.state == State::Complete
            && request.window == TimeWindow::ALL
        {
            let (_, why) = words(after);
            say(format!(
                "  {} .. {:<23}  {}",
                moment(last.to),
                "",
                paint(YELLOW, &why)
            ));
        }
    }
    say(conclusion(verdict, request));
    text
}

fn conclusion(verdict: &Verdict, request: &VerifyRequest) -> String {
    if verdict.is_complete {
        return "complete".to_owned();
    }
    if verdict.stories.is_empty() {
        let whose = request
            .group
            .as_ref()
            .map_or_else(String::new, |group| format!(" for '{}'", harmless(group)));
        return format!("NOT complete: nothing was watched{whose} at that time");
    }
    let pieces = verdict.stories.iter().flat_map(|story| &story.pieces);
    let holes = pieces
        .filter(|piece| piece.state != State::Complete)
        .count();
    let mut reasons = Vec::new();
    if holes > 0 {
        reasons.push(format!(
            "{holes} {}",
            if holes == 1 { "hole" } else { "holes" }
        ));
    }
    if !verdict.breaks.is_empty() {
        reasons.push("the journal is broken".to_owned());
    }
    if verdict.notes.iter().any(|note| note.is_grave) {
        reasons.push("a log does not fit the journal".to_owned());
    }
    format!("NOT complete: {}", reasons.join(", "))
}

/// Whether a piece ends only because nothing can be said of the future.
fn is_now(story: &Story, piece: &Piece) -> bool {
    story.after.is_none() && story.pieces.last() == Some(piece)
}

fn settings(story: &Story) -> String {
    let Ok(options) = serde_json::from_str::<WatchOptions>(&story.settings) else {
        return String::new();
    };
    let mut words = Vec::new();
    if options.recursive == Some(true) {
        words.push("recursive".to_owned());
    }
    words.extend(options.max_depth.map(|depth| format!("to depth {depth}")));
    words.extend(
        options
            .types
            .map(|types| format!("types {}", types.join(","))),
    );
    words.extend(options.size.map(|size| format!("size {size}")));
    words.extend(
        options
            .exclude
            .map(|globs| format!("without {}", globs.join(" "))),
    );
    if words.is_empty() {
        return String::new();
    }
    format!(" ({})", harmless(&words.join(", ")))
}

fn words(state: &State) -> (&'static str, String) {
    let number = |lost: &i64| match lost {
        -1 => "an unknown number of".to_owned(),
        lost => lost.to_string(),
    };
    match state {
        State::Complete => (GREEN, "complete".to_owned()),
        State::Lost(lost, cause) => (
            RED,
            format!("GAP: {} events lost ({})", number(lost), harmless(cause)),
        ),
        State::Doers(lost, _) => (
            YELLOW,
            format!(
                "GAP: {} process records lost; who did something may be unknown, or missing in the log of a command",
                number(lost)
            ),
        ),
        State::Stopped(why) => (
            YELLOW,
            format!("not recorded: the daemon was stopped ({})", harmless(why)),
        ),
        State::Held => (
            RED,
            "held: a disk cannot be written, and lines wait in the daemon's memory".to_owned(),
        ),
        State::Died => (
            RED,
            "not recorded: the daemon ended without saying so".to_owned(),
        ),
        State::Unasked => (YELLOW, "not watched".to_owned()),
        State::Short(point, why) => (
            RED,
            format!("not whole at {}: {}", in_full(point), harmless(why)),
        ),
        State::Untold => (RED, "nobody knows: the journal is broken".to_owned()),
        State::Gone(how) => (RED, format!("recorded, but the log was {}", harmless(how))),
    }
}

fn moment(time: WallTime) -> String {
    DateTime::from_timestamp_nanos(time.0)
        .format("%Y-%m-%d %H:%M:%S%.3f")
        .to_string()
}

fn stamp(time: WallTime) -> Value {
    // An end that nobody set.
    if time.0 == i64::MIN || time.0 == i64::MAX {
        return Value::Null;
    }
    DateTime::from_timestamp_nanos(time.0)
        .format("%Y-%m-%dT%H:%M:%S%.9fZ")
        .to_string()
        .into()
}

fn as_json(verdict: &Verdict) -> Value {
    let breaks = verdict.breaks.iter().map(|breach| {
        let (from, to) = breach.between;
        json!({"line": (breach.line > 0).then_some(breach.line), "why": breach.why, "from": stamp(from), "to": stamp(to)})
    });
    let clock = verdict.clock.iter();
    let clock = clock.map(|(time, step)| json!({"time": stamp(*time), "step_ns": step}));
    let notes = verdict.notes.iter();
    let notes =
        notes.map(|note| json!({"log": note.log, "what": note.what, "grave": note.is_grave}));
    json!({
        "complete": verdict.is_complete,
        "journal": {
            "lines": verdict.lines,
            "last": verdict.head.map(|head| head.to_string()),
            "breaks": breaks.collect::<Vec<_>>(),
        },
        "clock": clock.collect::<Vec<_>>(),
        "logs": notes.collect::<Vec<_>>(),
        "watches": verdict.stories.iter().map(|story| story_as_json(story, verdict)).collect::<Vec<_>>(),
    })
}

/// What is added where it was looked afterwards for what changed in a hole.
fn found_out(compared: Option<&Comparison>) -> String {
    let Some(compared) = compared else {
        return String::new();
    };
    let doubt = if compared.is_whole {
        ""
    } else {
        ", as far as could be told"
    };
    match compared.count {
        0 => format!("; compared afterwards, nothing had changed{doubt}"),
        1 => format!("; 1 change found out afterwards is in the log, by whom is unknown{doubt}"),
        count => format!(
            "; {count} changes found out afterwards are in the log, by whom is unknown{doubt}"
        ),
    }
}

fn story_as_json(story: &Story, verdict: &Verdict) -> Value {
    let settings: Value = serde_json::from_str(&story.settings).unwrap_or(Value::Null);
    let pieces = story.pieces.iter().map(|piece| {
        let (state, lost) = match &piece.state {
            State::Complete => ("complete", None),
            State::Lost(lost, _) => ("lost", Some(*lost)),
            State::Doers(lost, _) => ("process records lost", Some(*lost)),
            State::Stopped(_) => ("stopped", None),
            State::Held => ("held", None),
            State::Died => ("died", None),
            State::Unasked => ("not watched", None),
            State::Short(..) => ("short", None),
            State::Untold => ("journal broken", None),
            State::Gone(_) => ("not in the log", None),
        };
        let (_, why) = words(&piece.state);
        let compared = verdict.comparison_of(story, piece);
        let compared = compared.map(|compared| json!({"found_out": compared.count, "whole": compared.is_whole}));
        json!({"from": stamp(piece.from), "to": stamp(piece.to), "state": state, "lost": lost, "compared": compared, "why": why})
    });
    json!({
        "cmd": story.group,
        "path": in_full(&story.path),
        "watch": settings,
        "recording": story.after.is_none(),
        "pieces": pieces.collect::<Vec<_>>(),
    })
}
