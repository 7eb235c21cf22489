//! `fsmon init --man`: the definitions of the commands as manual pages.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap_mangen::Man;
use fsmon::monitored::path::quoted;

use super::Outcome;

/// Writes a page for the program and one for each command that is not hidden.
pub(crate) fn write(definitions: clap::Command, dir: &Path) -> Outcome {
    let mut program = definitions.disable_help_subcommand(true);
    program.build();
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", quoted(dir)))?;
    pages(dir, &program, None)?;
    Ok(ExitCode::SUCCESS)
}

/// The page of a command and those of what is below it; each names its neighbours.
fn pages(dir: &Path, command: &clap::Command, above: Option<&str>) -> anyhow::Result<()> {
    let own = title(command);
    let mut see_also: Vec<_> = above.map(str::to_owned).into_iter().collect();
    let below = command.get_subcommands();
    for command in below.filter(|command| !command.is_hide_set()) {
        see_also.push(title(command));
        pages(dir, command, Some(&own))?;
    }
    page(dir, command, &see_also)
}

fn page(dir: &Path, command: &clap::Command, see_also: &[String]) -> anyhow::Result<()> {
    let mut text = Vec::new();
    let source = concat!("fsmon ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("fsmon");
    man.render(&mut text)?;
    if command.get_name() == "fsmon" {
        text.extend_from_slice(include_bytes!("manual/files.roff"));
    }
    text.extend_from_slice(include_bytes!("manual/exit.roff"));
    text.extend_from_slice(b".SH \"SEE ALSO\"\n");
    let pages: Vec<_> = see_also
        .iter()
        .map(|name| format!(".BR {} (1)", name.replace('-', "\\-")))
        .collect();
    text.extend_from_slice(pages.join(",\n").as_bytes());
    text.push(b'\n');
    let file = dir.join(title(command) + ".1");
    fs::write(&file, text).with_context(|| format!("cannot write {}", quoted(&file)))
}

/// `fsmon-add`
fn title(command: &clap::Command) -> String {
    let name = command.get_display_name();
    name.unwrap_or_else(|| command.get_name()).to_owned()
}
