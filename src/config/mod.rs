//! fsmon.toml, flags and defaults become one Config; whose home, and where every file is.
#![forbid(unsafe_code)]

mod file;
mod person;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use self::file::{File, cache_config};
use self::person::{Person, Surroundings};
use crate::filters::size::SizeFilter;
use crate::sys::files::as_user;

pub use crate::sys::files::Owner;

/// Everything that is configured, resolved: nothing later asks where a value came from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where every file is.
    pub paths: Paths,
    /// Home of the user for whom this runs.
    pub home: PathBuf,
    /// The user that files are handed to, when that is not the one who runs this.
    pub owner: Option<Owner>,
    /// The user whose daemon this is: names the socket and may talk to it.
    pub uid: u32,
    /// Sizes and lives of the caches.
    pub cache: CacheConfig,
    /// Memory ceilings.
    pub capture: CaptureConfig,
    /// What is kept of logs and how they are written.
    pub logging: LoggingConfig,
    /// Switches for tests.
    pub test: TestSwitches,
}

/// Where every file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// fsmon.toml, whether it is there or not.
    pub config_file: PathBuf,
    /// monitored.jsonl.
    pub store_file: PathBuf,
    /// The directory of the event logs.
    pub log_dir: PathBuf,
    /// The command socket.
    pub socket: PathBuf,
    /// The lock of the one daemon.
    pub lock: PathBuf,
    /// journal.jsonl.
    pub journal: PathBuf,
}

/// Sizes and lives of the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// How many directories are remembered.
    pub dir_cap: usize,
    /// How long a directory that nothing asks for is remembered.
    pub dir_ttl: Duration,
    /// How many file sizes are remembered.
    pub file_size: usize,
    /// How long a dead process is remembered.
    pub proc_ttl: Duration,
    /// How often `--debug` prints statistics.
    pub stats_interval: Duration,
    /// Size of one read from the kernel, in bytes.
    pub buffer_size: usize,
}

/// Memory ceilings of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureConfig {
    /// Bytes of raw kernel events held before the kernel has to hold them.
    pub ceiling: u64,
    /// Bytes of lines held while a disk is full.
    pub write_ceiling: u64,
    /// How many objects of a watch are kept to find out what happened unseen; 0 means none.
    pub manifest: usize,
}

/// What is kept of logs and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// What `clean` keeps when it is not told.
    pub keep_days: u32,
    /// From what size `clean` cuts when it is not told.
    pub size: SizeFilter,
    /// How often the daemon cleans its logs itself; `None` means never.
    pub auto_clean: Option<Duration>,
    /// What survives a power cut.
    pub sync: Sync,
    /// Which logs have chains.
    pub chain: Chain,
}

/// When log files are synced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Sync {
    /// Never.
    #[serde(rename = "off")]
    Off,
    /// Once a second.
    #[default]
    #[serde(rename = "1s")]
    EverySecond,
    /// After each batch.
    #[serde(rename = "always")]
    Always,
}

/// Which logs have the chain of ancestors in each line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chain {
    /// Those of command groups.
    #[default]
    Auto,
    /// `_global` too.
    Always,
}

/// Values of `[cache]` as given, in the file or by flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// `--cache-dir-cap`
    pub dir_capacity: Option<u64>,
    /// `--cache-dir-ttl`
    pub dir_ttl_secs: Option<u64>,
    /// `--cache-file-size`
    pub file_size_capacity: Option<u64>,
    /// `--cache-proc-ttl`
    pub proc_ttl_secs: Option<u64>,
    /// `--cache-stats-interval`
    pub stats_interval_secs: Option<u64>,
    /// `--buffer-size`
    pub buffer_size: Option<u64>,
}

/// Switches for tests, from the comma list in `FSMON_TEST`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestSwitches {
    /// `legacy-fanotify`: behave as on a kernel without FAN_RENAME and FAN_REPORT_TARGET_FID.
    pub legacy_fanotify: bool,
    /// `no-perf`: behave as where perf events are refused.
    pub no_perf: bool,
    /// `read-delay-ms=N`: wait so long before each read from the kernel.
    pub read_delay: Option<Duration>,
}

/// The user for whom root works here, as far as the environment says so.
pub fn owner_behind_sudo() -> Option<Owner> {
    Surroundings::of_process().person().owner
}

impl Config {
    /// Reads the environment and the file; `flags` win over the file.
    pub fn load(flags: &CacheSettings) -> anyhow::Result<Self> {
        Self::of(&Surroundings::of_process(), flags)
    }

    /// Reads `text` as what the file of the user `uid` holds, with nothing else around: for whoever wants to
    /// know whether it is right.
    pub fn of_text(text: &str, home: &Path, uid: u32) -> anyhow::Result<Self> {
        let person = Person {
            uid,
            owner: None,
            home: home.to_owned(),
            config_dir: home.join(".config"),
        };
        let config_file = person.config_file();
        let file = File::parse(text, &config_file)?;
        Self::assemble(person, &file, &CacheSettings::default(), "")
    }

    fn of(around: &Surroundings, flags: &CacheSettings) -> anyhow::Result<Self> {
        let person = around.person();
        let file = as_user(person.owner, || File::read(&person.config_file()))?;
        Self::assemble(person, &file, flags, &around.test)
    }

    fn assemble(
        person: Person,
        file: &File,
        flags: &CacheSettings,
        test: &str,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            paths: file.paths(&person)?,
            cache: cache_config(&file.cache, flags)?,
            capture: file.capture()?,
            logging: file.logging()?,
            test: TestSwitches::parse(test)?,
            home: person.home,
            owner: person.owner,
            uid: person.uid,
        })
    }
}

impl TestSwitches {
    fn parse(list: &str) -> anyhow::Result<Self> {
        let mut switches = Self::default();
        for word in list
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match word.split_once('=') {
                None if word == "legacy-fanotify" => switches.legacy_fanotify = true,
                None if word == "no-perf" => switches.no_perf = true,
                Some(("read-delay-ms", ms)) => {
                    let ms: u32 = ms
                        .parse()
                        .with_context(|| format!("FSMON_TEST: '{}'", word.escape_debug()))?;
                    switches.read_delay = Some(Duration::from_millis(ms.into()));
                }
                _ => bail!("FSMON_TEST: unknown switch '{}'", word.escape_debug()),
            }
        }
        Ok(switches)
    }
}
