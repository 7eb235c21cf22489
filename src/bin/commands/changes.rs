//! `fsmon changes`

use fsmon::query;

use super::question::{Question, answer};
use super::{Outcome, load_config};

/// Prints the last event of each path, JSONL, newest first
///
///   fsmon changes _global -p /etc -t '>1d' | jq -r '[.time, .event_type, .path, .cmd] | @tsv'
///   fsmon changes agent | head
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(flatten)]
    question: Question,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let request = args.question.request(load_config()?)?;
    let outcome = query::changes(&request, &mut answer())?;
    args.question.conclude(&request, &outcome)
}
