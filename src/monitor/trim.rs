//! Retention without cron: the daemon trims its logs itself, on a thread beside the core.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::core::Message;
use super::report::{Level, Reporter};
use crate::clean::plan::Keep;
use crate::clean::{self, CleanReport, CleanRequest};
use crate::config::LoggingConfig;
use crate::event::WallTime;
use crate::filters::Op;
use crate::filters::size::SizeFilter;
use crate::filters::time::{TimeFilter, TimeWindow};
use crate::log::dir::{LogDir, Owner};
use crate::sys::clock;
use crate::sys::files::as_user;

/// What is kept, and how often that is looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    every: Duration,
    keep_days: u32,
    size: SizeFilter,
}

/// Starts, instructs and ends the thread. It cleans as `fsmon clean` does, with the same lock, so
/// it holds up nothing but its own log, and may be killed at any moment.
#[derive(Debug)]
pub struct Trimmer {
    work: Work,
    rule: Option<Rule>,
    /// To the thread, while there is one; it ends when this goes.
    orders: Option<Sender<Rule>>,
}

/// What the thread works on and whom it tells.
#[derive(Clone, Debug)]
struct Work {
    dir: PathBuf,
    owner: Option<Owner>,
    reporter: Arc<Reporter>,
    to_core: Sender<Message>,
}

impl Trimmer {
    /// Makes one for the logs in `dir`; nothing is trimmed before [`Trimmer::follow`].
    pub fn new(
        dir: PathBuf,
        owner: Option<Owner>,
        reporter: Arc<Reporter>,
        to_core: Sender<Message>,
    ) -> Self {
        let work = Work {
            dir,
            owner,
            reporter,
            to_core,
        };
        Self {
            work,
            rule: None,
            orders: None,
        }
    }

    /// Does from now on what the configuration says. Without `auto_clean` there is no thread.
    pub fn follow(&mut self, logging: &LoggingConfig) {
        let rule = logging.auto_clean.map(|every| Rule {
            every,
            keep_days: logging.keep_days,
            size: logging.size,
        });
        if rule == self.rule {
            return;
        }
        self.rule = rule;
        let Some(rule) = rule else {
            self.orders = None;
            return;
        };
        if self
            .orders
            .as_ref()
            .is_some_and(|orders| orders.send(rule).is_ok())
        {
            return;
        }
        let (orders, received) = channel();
        let work = self.work.clone();
        let started = std::thread::Builder::new()
            .name("trim".to_owned())
            .spawn(move || work.run(rule, &received));
        match started {
            Ok(_) => self.orders = Some(orders),
            Err(error) => self.work.reporter.say(
                Level::Warning,
                &format!("auto_clean does not work, no thread could be started: {error}"),
            ),
        }
    }
}

impl Work {
    fn run(&self, mut rule: Rule, orders: &Receiver<Rule>) {
        loop {
            self.trim_all(&rule);
            match orders.recv_timeout(rule.every) {
                Ok(new) => rule = new,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn trim_all(&self, rule: &Rule) {
        let names = as_user(self.owner, || match LogDir::open(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other?.log_names(),
        });
        let names = names.unwrap_or_else(|error| {
            self.warn(&format!(
                "cannot list '{}' for auto_clean: {error}",
                self.dir.display()
            ));
            Vec::new()
        });
        for log in names {
            match self.trim(&log, rule) {
                Ok(Some(report)) if report.by_time + report.by_size > 0 => {
                    // A core that has ended writes no journal any more.
                    self.to_core.send(Message::Cleaned { log, report }).ok();
                }
                Ok(_) => {}
                Err(error) => self.warn(&format!("auto_clean: {error:#}")),
            }
        }
    }

    fn trim(&self, log: &str, rule: &Rule) -> anyhow::Result<Option<CleanReport>> {
        let age = i64::from(rule.keep_days).saturating_mul(DAY);
        let kept = TimeFilter {
            op: Op::Over,
            at: WallTime(clock::realtime().saturating_sub(age)),
        };
        let request = CleanRequest {
            log_path: self.dir.join(log),
            keep: Keep {
                window: TimeWindow::from_filters(&[kept]),
                size: Some(rule.size),
            },
            dry_run: false,
            owner: self.owner,
        };
        as_user(self.owner, || clean::run(&request, &mut |_| Ok(())))
    }

    fn warn(&self, text: &str) {
        self.reporter.say_folded(
            Level::Warning,
            "auto_clean",
            &text.escape_debug().to_string(),
        );
    }
}

const DAY: i64 = 86_400_000_000_000;
