//! `fsmon init --completions`, and the hidden `fsmon list-groups` that they ask.
//!
//! What stands in the definitions of the commands comes out of these; the names of groups and the watched
//! paths are other ones for each user and hour, so that the shell has to ask for them. Each shell
//! has a few lines for that, which are put behind the rest.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use clap_complete::aot::{self, generate};
use fsmon::log::dir::LOG_SUFFIX;

use super::{Outcome, load_config, store_of};

/// The shells that can be told.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn print(shell: Shell, definitions: clap::Command) -> Outcome {
    let mut definitions = without_hidden(&definitions);
    let asking: Vec<String> = definitions
        .get_subcommands()
        .filter(|command| names_a_group(command))
        .map(|command| command.get_name().to_owned())
        .collect();
    let mut script = Vec::new();
    let more = match shell {
        Shell::Bash => {
            generate(aot::Bash, &mut definitions, PROGRAM, &mut script);
            include_str!("completions/groups.bash")
        }
        Shell::Zsh => {
            generate(aot::Zsh, &mut definitions, PROGRAM, &mut script);
            include_str!("completions/groups.zsh")
        }
        Shell::Fish => {
            generate(aot::Fish, &mut definitions, PROGRAM, &mut script);
            include_str!("completions/groups.fish")
        }
    };
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    out.write_all(more.replace("COMMANDS", &asking.join(" ")).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// bash would be told of hidden commands, too.
fn without_hidden(definitions: &clap::Command) -> clap::Command {
    let commands = definitions.get_subcommands();
    let shown = commands.filter(|command| !command.is_hide_set()).cloned();
    clap::Command::new(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(shown)
}

/// Whether one of its arguments is the name of a group that there is already.
fn names_a_group(command: &clap::Command) -> bool {
    let is_group = |arg: &clap::Arg| arg.get_id() == "cmd";
    command.get_positionals().any(is_group)
}

/// Prints the groups that are watched or have a log, one a line.
pub(crate) fn list_groups() -> Outcome {
    let config = load_config()?;
    let mut names = BTreeSet::new();
    if let Ok((set, _)) = store_of(&config).load() {
        names.extend(set.iter().map(|watch| watch.group.as_str().to_owned()));
    }
    for entry in fs::read_dir(&config.paths.log_dir).into_iter().flatten() {
        let file = entry?.file_name();
        let name = file.to_str().and_then(|name| name.strip_suffix(LOG_SUFFIX));
        names.extend(name.map(str::to_owned));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    for name in names {
        writeln!(out, "{name}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

const PROGRAM: &str = "fsmon";
