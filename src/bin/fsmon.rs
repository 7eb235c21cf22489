//! The fsmon command: reads the arguments, runs one command, prints the error, gives the exit code.
#![forbid(unsafe_code)]

mod commands;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use commands::{
    Failure, Outcome, add, cd, changes, clean, completions, daemon, doctor, health, init,
    monitored, policy, query, remove, say, tail, verify, watch, why,
};

/// A flight recorder for a Linux filesystem: what changed, when, and which process did it
///
/// A root daemon records into JSONL files, one for each command group; the other commands say what
/// is recorded and ask the logs.
///
///   sudo fsmon daemon                          record
///   fsmon add _global --path /srv -r           watch a tree, whoever changes it
///   fsmon add nginx --path /var/www -r         watch what nginx and its children do there
///   fsmon query _global -t '>1h' | jq .path    what happened in the last hour
///   sudo fsmon watch /etc                      look without a daemon, right now
///   fsmon tail                                 what happens now
///   fsmon why /srv/www/index.html              what happened to this file, and who did it
#[derive(Parser)]
#[command(name = "fsmon", version, verbatim_doc_comment)]
#[command(arg_required_else_help = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Daemon(daemon::Args),
    Add(add::Args),
    Remove(remove::Args),
    Monitored(monitored::Args),
    Query(query::Args),
    Changes(changes::Args),
    Tail(tail::Args),
    Watch(watch::Args),
    Why(why::Args),
    Clean(clean::Args),
    Policy(policy::Args),
    Health(health::Args),
    Verify(verify::Args),
    Doctor(doctor::Args),
    Init(init::Args),
    Cd(cd::Args),
    #[command(hide = true)]
    DoctorDeed(doctor::deeds::Args),
    /// Prints the watched paths, one a line.
    #[command(hide = true)]
    ListMonitoredPaths,
    /// Prints the groups that are watched or have a log, one a line.
    #[command(hide = true)]
    ListGroups,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(failure) if is_closed_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) => {
            say(format_args!("fsmon: {:#}", failure.error));
            if let Some(hint) = &failure.hint {
                say(format_args!("  hint: {hint}"));
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Daemon(args) => daemon::run(&args),
        Command::Add(args) => add::run(&args),
        Command::Remove(args) => remove::run(&args),
        Command::Monitored(args) => monitored::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Changes(args) => changes::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Clean(args) => clean::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::DoctorDeed(args) => doctor::deeds::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Init(args) => init::run(&args, Cli::command()),
        Command::Cd(args) => cd::run(&args),
        Command::ListMonitoredPaths => monitored::list_paths(),
        Command::ListGroups => completions::list_groups(),
    }
}

/// Whoever read our output has seen enough.
fn is_closed_pipe(failure: &Failure) -> bool {
    let mut causes = failure
        .error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
