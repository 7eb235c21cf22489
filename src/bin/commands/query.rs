//! `fsmon query`

use fsmon::query::{self, QueryRequest};

use super::question::{Question, answer};
use super::{Outcome, load_config};

/// Asks the logs; prints the lines that match, JSONL, oldest first
///
///   fsmon query _global -t '>1h'
///   fsmon query nginx -p /var/www -t '>=2026-05-01' -t '<2026-05-02 12:00' | jq -r .path
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(flatten)]
    question: Question,
    /// Read the logs from beginning to end, in case that somebody has sorted one wrongly.
    #[arg(long)]
    scan: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let request = QueryRequest {
        scan: args.scan,
        ..args.question.request(load_config()?)?
    };
    let outcome = query::run(&request, &mut answer())?;
    args.question.conclude(&request, &outcome)
}
