//! What a run measured, the medians of several, and how they are printed.

use crate::check::Score;
use crate::loads::Load;
use crate::measure::median;
use crate::monitors::Kind;

/// One workload with one who looked on.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// CPU seconds of the one who looked on, until its last line was there.
    pub(crate) cpu: f64,
    /// CPU seconds of the workload.
    pub(crate) work: f64,
    /// Resident before the workload, and the most ever.
    pub(crate) idle: u64,
    pub(crate) peak: u64,
    /// From the end of the workload to the last line, in milliseconds; `None` when it took too long.
    pub(crate) late: Option<f64>,
    /// Lines, or what the floor counted.
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) score: Option<Score>,
}

/// All runs of one workload.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) load: Load,
    pub(crate) runs: Vec<(Kind, Vec<Run>)>,
}

/// The medians of one who looked on.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    /// CPU seconds for a million lines.
    pub(crate) per_million: f64,
    /// Of the log, for each line.
    pub(crate) bytes: f64,
    pub(crate) work: f64,
    pub(crate) idle: f64,
    pub(crate) peak: f64,
    pub(crate) late: Option<f64>,
    /// Of the worst round.
    pub(crate) score: Option<Score>,
    pub(crate) events: f64,
}

impl Block {
    pub(crate) fn new(load: Load) -> Self {
        Self {
            load,
            runs: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, kind: &Kind, run: Run) {
        match self.runs.iter_mut().find(|(known, _)| known == kind) {
            Some((_, runs)) => runs.push(run),
            None => self.runs.push((kind.clone(), vec![run])),
        }
    }

    pub(crate) fn row(&self, kind: &Kind) -> Option<Row> {
        let (_, runs) = self.runs.iter().find(|(known, _)| known == kind)?;
        let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
        let late = runs
            .iter()
            .map(|run| run.late)
            .collect::<Option<Vec<f64>>>();
        let scores = runs.iter().filter_map(|run| run.score.clone());
        Some(Row {
            kind: kind.clone(),
            per_million: of(|run| run.cpu * 1e6 / run.events as f64),
            bytes: of(|run| run.bytes as f64 / run.events as f64),
            work: of(|run| run.work),
            idle: of(|run| run.idle as f64),
            peak: runs.iter().map(|run| run.peak as f64).fold(0.0, f64::max),
            late: late.map(median),
            score: scores.min_by(|one, two| worth(one).total_cmp(&worth(two))),
            events: of(|run| run.events as f64),
        })
    }

    fn rows(&self) -> Vec<Row> {
        self.runs
            .iter()
            .filter_map(|(kind, _)| self.row(kind))
            .collect()
    }

    /// Of the program of this package to the bare reader with or without a log: what a million lines
    /// cost, and what the workload takes.
    pub(crate) fn ratios(&self) -> Option<(f64, f64)> {
        let (own, floor) = (self.row(&Kind::Fsmon)?, self.row(&Kind::Logger)?);
        let bare = self.row(&Kind::Reader)?;
        Some((own.per_million / floor.per_million, own.work / bare.work))
    }

    pub(crate) fn print(&self) {
        let floor = self.row(&Kind::Logger).map(|row| row.per_million);
        let bare = self.row(&Kind::Reader).map(|row| row.work);
        for row in self.rows() {
            let mib = |bytes: f64| format!("{:.1}", bytes / f64::from(1 << 20));
            let alone = row.kind == Kind::Alone;
            let cell = |text: String| if alone { String::new() } else { text };
            let score = row.score.as_ref();
            let share = |right: usize, of: usize| share(right, of);
            println!(
                "| {:<9} | {:<14} | {:>8} | {:>8} | {:>9} | {:>9} | {:>9} | {:>6} | {:>7} | {:>7} | {:>8} | {:>7} | {:>6} | {:>6} | {:>9} |",
                self.load.name(),
                row.kind.name(),
                score.map_or_else(String::new, |score| score.expected.to_string()),
                score.map_or_else(String::new, |score| share(score.captured, score.expected)),
                score.map_or_else(String::new, |score| share(score.path_right, score.lines)),
                score.map_or_else(String::new, |score| share(score.who_right, score.lines)),
                cell(format!("{:.0}", row.events)),
                score.map_or_else(String::new, |_| format!("{:.0}", row.bytes)),
                cell(format!("{:.3}", row.per_million)),
                floor.map_or_else(String::new, |floor| cell(format!(
                    "{:.2}",
                    row.per_million / floor
                ))),
                format!("{:.3}", row.work),
                bare.map_or_else(String::new, |bare| format!("{:.2}", row.work / bare)),
                cell(mib(row.idle)),
                cell(mib(row.peak)),
                cell(
                    row.late
                        .map_or_else(|| "never".to_owned(), |late| format!("{late:.0}"))
                ),
            );
        }
        for row in self.rows() {
            let Some(score) = row.score.as_ref().filter(|score| worth(score) < 1.0) else {
                continue;
            };
            if row.kind == Kind::Fsmon {
                for what in &score.first {
                    println!("    {}: {what}", row.kind.name());
                }
            }
        }
    }
}

/// Whether every line that had to be there is, and none is wrong.
pub(crate) fn is_perfect(score: &Score) -> bool {
    score.captured == score.expected
        && score.path_right == score.lines
        && score.who_right == score.lines
        && score.lines > 0
}

fn worth(score: &Score) -> f64 {
    let share = |right: usize, of: usize| right as f64 / (of.max(1)) as f64;
    share(score.captured, score.expected)
        .min(share(score.path_right, score.lines))
        .min(share(score.who_right, score.lines))
}

/// Rounded down, so that 100 % is all.
fn share(right: usize, of: usize) -> String {
    if of == 0 {
        return "-".to_owned();
    }
    let share = (right as f64 / of as f64 * 1e4).floor() / 100.0;
    if right == of {
        "100 %".to_owned()
    } else {
        format!("{share:.2} %")
    }
}

pub(crate) fn head() {
    println!(
        "| workload  | with           | expected | captured | path      | who       |    events | B/line | s/1M    | x floor | workload | x bare  | idle   | peak   | last line |"
    );
    println!(
        "|-----------|----------------|---------:|---------:|----------:|----------:|----------:|-------:|--------:|--------:|---------:|--------:|-------:|-------:|----------:|"
    );
}
