//! `fsmon clean`

use std::ffi::OsStr;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

use chrono::DateTime;
use fsmon::clean::plan::{Doomed, Keep};
use fsmon::clean::{self, CleanReport, CleanRequest, Notice};
use fsmon::config::Config;
use fsmon::filters::size::{SizeFilter, human_size};
use fsmon::filters::time::{TimeFilter, TimeWindow};
use fsmon::monitored::path::{escaped, quoted};
use fsmon::socket::{CallError, Request, call};
use fsmon::sys::files::as_user;

use super::progress::ProgressLine;
use super::{Failure, Outcome, load_config, now, parse_log, say};

/// Trims a log by age or size.
///
/// The time filter says what is kept: `>7d` keeps the last seven days. When the size comparison then still
/// holds, the oldest lines go until the log is about that large. Safe while the daemon runs. The defaults
/// are keep_days and size in fsmon.toml, else 30 days and >=1GB.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Whose log.
    #[arg(value_hint = clap::ValueHint::Other)]
    cmd: String,
    /// What to keep: [OP]WHEN as for `fsmon query`.
    #[arg(short, long, value_name = "FILTER", allow_hyphen_values = true)]
    time: Option<String>,
    /// From what size to cut, and to what: [OP]NUM[UNIT].
    #[arg(short, long, value_name = "EXPR", allow_hyphen_values = true)]
    size: Option<String>,
    /// Only say what would go.
    #[arg(short, long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let log = parse_log(&args.cmd)?.log_file_name();
    let (kept, size) = filters(args, &config)?;
    let dir = config.paths.log_dir.clone();
    let request = CleanRequest {
        log_path: dir.join(log),
        keep: Keep {
            window: TimeWindow::from_filters(&[kept]),
            size: Some(size),
        },
        dry_run: args.dry_run,
        owner: config.owner,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if !dir.is_dir() {
        writeln!(out, "Log directory not found: {}", dir.display())?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    // A dry run shows the lines themselves.
    let mut line = (!args.dry_run)
        .then(|| ProgressLine::on_terminal(work_on(&request.log_path)))
        .flatten();
    let report = as_user(request.owner, || {
        clean::run(&request, &mut |notice| match notice {
            Notice::Doomed(doomed) => show(&mut out, &doomed),
            Notice::Progress { done, total } => {
                if let Some(line) = &mut line {
                    line.show(done, total);
                }
                Ok(())
            }
        })
    })?;
    drop(line);
    if let Some(report) = report.as_ref().filter(|_| !args.dry_run) {
        tell_daemon(&args.cmd, report, &config.paths.socket, config.uid);
    }
    match report {
        None => writeln!(out, "Log file not found: {}", request.log_path.display())?,
        Some(report) if args.dry_run => preview(&mut out, &report)?,
        Some(report) => {
            writeln!(out, "Cleaning {}...", request.log_path.display())?;
            writeln!(
                out,
                "Deleted {} entries (time filter: {kept})",
                report.by_time + report.by_size
            )?;
            writeln!(
                out,
                "Log file size reduced from {} to {}",
                human_size(report.before),
                human_size(report.after)
            )?;
        }
    }
    out.flush()?;
    if let Some(CleanReport {
        unreadable: count @ 1..,
        ..
    }) = report
    {
        let log = quoted(&request.log_path);
        say(format_args!(
            "fsmon: warning: {count} lines of {log} are as old by their place, but have no time that can be read; they are kept"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets the journal tell who made the log shorter. Without a daemon there is nobody to write it.
fn tell_daemon(cmd: &str, report: &CleanReport, socket: &Path, uid: u32) {
    let deleted = report.by_time + report.by_size;
    if deleted == 0 {
        return;
    }
    match call(
        socket,
        uid,
        &Request::cleaned(cmd, deleted, report.before, report.after),
    ) {
        Ok(_) | Err(CallError::NotRunning) => {}
        Err(error) => say(format_args!(
            "fsmon: warning: the daemon could not be told of it, so its journal will call the log cut: {error}"
        )),
    }
}

/// What is being done, for the line that says how far it is.
fn work_on(log: &Path) -> [String; 2] {
    let size = log.symlink_metadata().map_or(0, |meta| meta.len());
    let name = log.file_name().unwrap_or_default();
    [
        format!("cleaning {}: ", escaped(Path::new(name))),
        format!("of {}", human_size(size)),
    ]
}

/// Command line, else fsmon.toml, else the defaults.
fn filters(args: &Args, config: &Config) -> Result<(TimeFilter, SizeFilter), Failure> {
    let age = format!(">{}d", config.logging.keep_days);
    let kept =
        TimeFilter::parse(args.time.as_deref().unwrap_or(&age), now()).map_err(Failure::usage)?;
    let size = args
        .size
        .as_deref()
        .map_or(Ok(config.logging.size), str::parse)
        .map_err(Failure::usage)?;
    Ok((kept, size))
}

fn show(out: &mut impl io::Write, doomed: &Doomed<'_>) -> io::Result<()> {
    let time = DateTime::from_timestamp_nanos(doomed.time.0).format("%Y-%m-%d %H:%M:%S");
    let Some(line) = &doomed.line else {
        return writeln!(out, "  [to-delete] {time}");
    };
    let kind = line.event_type.escape_ascii();
    let path = line.path();
    writeln!(
        out,
        "  [to-delete] {time} | {kind} | {}",
        escaped(Path::new(OsStr::from_bytes(&path)))
    )
}

fn preview(out: &mut impl io::Write, report: &CleanReport) -> io::Result<()> {
    match report.by_time + report.by_size {
        0 => writeln!(out, "Dry run: 0 entries match cleanup criteria"),
        count => writeln!(
            out,
            "---\nDry run: {count} entries would be deleted (use --dry-run to preview)"
        ),
    }
}
