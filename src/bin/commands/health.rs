//! `fsmon health`

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use fsmon::filters::size::human_size;
use fsmon::monitored::path::escaped;
use fsmon::socket::health::{Queues, Watched};
use fsmon::socket::{CallError, Health, Request, call};

use super::look::{Look, harmless};
use super::{Failure, Outcome, load_config};

/// Says how the daemon is: since when it records, what it saw, what it lost, how full it is
#[derive(clap::Args)]
pub(crate) struct Args {
    /// As JSON, one object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let reply = call(&config.paths.socket, config.uid, &Request::health());
    let health = match reply {
        Ok(reply) => reply
            .health
            .ok_or_else(|| anyhow!("the daemon that runs does not know this question"))?,
        Err(error @ CallError::NotRunning) => {
            return Err(Failure::from(anyhow!(error)).hint("start it with `sudo fsmon daemon`"));
        }
        Err(error) => return Err(anyhow!(error).into()),
    };
    let mut text = if args.json {
        serde_json::to_string(&health).context("cannot write JSON")?
    } else {
        told(&health, Look::of_stdout())
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn told(health: &Health, look: Look) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        text += &format!("{name:<NAME$}");
        look.wrap(&value, NAME, &mut text);
    };
    row(
        "daemon",
        format!(
            "fsmon {}, process {}, recording since {} ({})",
            harmless(&health.version),
            health.pid,
            harmless(&health.since),
            age(health.up_secs)
        ),
    );
    row(
        "memory",
        format!(
            "{}, {} at most",
            human_size(health.memory_kib * 1024),
            human_size(health.memory_peak_kib * 1024)
        ),
    );
    let events = &health.events;
    row(
        "events",
        format!(
            "{} records, {} lines: {} exact, {} ambiguous, {} unknown",
            events.records, events.lines, events.exact, events.ambiguous, events.unknown
        ),
    );
    let out = &events.left_out;
    row(
        "left out",
        format!(
            "{} by type, {} by size, {} excluded, {} of processes outside the group",
            out.types, out.size, out.exclude, out.group
        ),
    );
    row("lost", losses(health));
    tell_queues(&health.queues, &mut row);
    let known = &health.known;
    row(
        "known",
        format!(
            "{} directories in {}, {} files, {} processes and {} dead ones",
            known.directories,
            human_size(known.directory_bytes),
            known.files,
            known.processes,
            known.dead_processes
        ),
    );
    let policy = &health.policy;
    if policy.rules + policy.jobs > 0 {
        row(
            "policy",
            format!(
                "{} rules and {} jobs; {} alerts, {} openings looked at, {} refused, {} undecided in time",
                policy.rules,
                policy.jobs,
                policy.alerts,
                policy.opens,
                policy.refused,
                policy.overdue
            ),
        );
    }
    row("listening", health.queues.readers.to_string());
    tell_watched(health, &mut row);
    text
}

const NAME: usize = 12;

/// Takes the name of a row and what stands in it.
type Row<'a> = dyn FnMut(&str, String) + 'a;

fn tell_queues(queues: &Queues, row: &mut Row<'_>) {
    row(
        "waiting",
        format!(
            "{} of events ({} at most, {} may be), the oldest {} ms old; {} of lines ({} may be)",
            human_size(queues.held_bytes),
            human_size(queues.held_most_bytes),
            human_size(queues.held_ceiling_bytes),
            queues.oldest_ms,
            human_size(queues.pending_bytes),
            human_size(queues.pending_ceiling_bytes)
        ),
    );
    if queues.ring_bytes > 0 {
        row(
            "rings",
            format!(
                "{} of process records waited at most on one CPU ({} may)",
                human_size(queues.ring_most_bytes),
                human_size(queues.ring_bytes)
            ),
        );
    }
}

fn tell_watched(health: &Health, row: &mut Row<'_>) {
    row("watched", format!("{} paths, on", health.known.watches));
    for filesystem in &health.filesystems {
        let point = escaped(std::path::Path::new(&filesystem.point)).to_string();
        let (fstype, way) = (harmless(&filesystem.fstype), way(&filesystem.way));
        row("", format!("{point} ({fstype}), {way}"));
    }
    for (number, watch) in health.watches.iter().enumerate() {
        row(if number == 0 { "watches" } else { "" }, watched(watch));
    }
}

fn watched(watch: &Watched) -> String {
    let path = escaped(std::path::Path::new(&watch.path)).to_string();
    let there = if watch.there {
        ""
    } else {
        ", which is not there"
    };
    let way = if watch.way.is_empty() {
        "not watched: its filesystem could not be marked".to_owned()
    } else {
        way(&watch.way)
    };
    format!("{} {path}{there}, {way}", harmless(&watch.group))
}

fn losses(health: &Health) -> String {
    let losses = &health.losses;
    let all = [
        (losses.events, "events"),
        (losses.lines, "lines that could not be written"),
        (losses.process_records, "records about processes"),
        (losses.unplaced, "objects without a place"),
        (losses.malformed, "buffers that could not be read"),
    ];
    let told: Vec<String> = all
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if told.is_empty() {
        "nothing".to_owned()
    } else {
        told.join(", ")
    }
}

fn way(way: &str) -> String {
    match way {
        "filesystem" => "by a mark on the filesystem".to_owned(),
        "btrfs top" => "by a mark on the top level of its btrfs".to_owned(),
        "overlay upper" => "through its upper directory".to_owned(),
        "directories" => "by a mark on each directory".to_owned(),
        other => harmless(other),
    }
}

fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
