//! fsmon.toml as written, and what its values and the flags come to.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::person::Person;
use super::{CacheConfig, CacheSettings, CaptureConfig, Chain, LoggingConfig, Paths, Sync};
use crate::filters::size::parse_size;
use crate::filters::time::parse_age;
use crate::sys::files::read_regular;

fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_regular(path, MOST_BYTES)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// No configuration is so long.
const MOST_BYTES: u64 = 4 << 20;

/// fsmon.toml as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    monitored: Place,
    logging: LoggingSettings,
    socket: Place,
    pub(super) cache: CacheSettings,
    capture: CaptureSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoggingSettings {
    path: Option<String>,
    keep_days: Option<u64>,
    size: Option<String>,
    auto_clean: Option<String>,
    sync: Option<Sync>,
    chain: Option<Chain>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaptureSettings {
    ceiling: Option<String>,
    write_ceiling: Option<String>,
    manifest: Option<u64>,
}

impl File {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        match read_text(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(Self::default())
            }
            Err(error) => Err(error).with_context(|| {
                let shown = path.display().to_string();
                format!("cannot read the config file '{}'", shown.escape_debug())
            }),
            Ok(text) => Self::parse(&text, path),
        }
    }

    pub(super) fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
        toml::from_str(text).map_err(|error| {
            let shown = path.display().to_string();
            let shown = shown.escape_debug();
            let before = error
                .span()
                .and_then(|span| text.get(..span.start))
                .unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let cause = error.message().trim().replace('\n', ", ");
            anyhow::anyhow!("config file '{shown}', line {line}: {cause}")
        })
    }

    pub(super) fn paths(&self, person: &Person) -> anyhow::Result<Paths> {
        let at = |given: &Option<String>, usual: &str, key: &str| {
            person.expand(given.as_deref().unwrap_or(usual), key)
        };
        let socket = at(&self.socket.path, "/tmp/fsmon-<UID>.sock", "[socket] path")?;
        let lock = socket.with_extension("lock");
        ensure!(
            lock != socket,
            "[socket] path: the extension '.lock' belongs to the lock file beside it"
        );
        let log_dir = at(&self.logging.path, "~/.local/state/fsmon", "[logging] path")?;
        Ok(Paths {
            config_file: person.config_file(),
            store_file: at(
                &self.monitored.path,
                "~/.local/share/fsmon/monitored.jsonl",
                "[monitored] path",
            )?,
            socket,
            lock,
            journal: log_dir.join("journal.jsonl"),
            log_dir,
        })
    }

    pub(super) fn capture(&self) -> anyhow::Result<CaptureConfig> {
        let bytes = |given: &Option<String>, usual: &str, key: &str| {
            let bytes = parse_size(given.as_deref().unwrap_or(usual))
                .with_context(|| format!("[capture] {key}"))?;
            ensure!(bytes >= 1 << 16, "[capture] {key}: must be at least 64KB");
            Ok(bytes)
        };
        let manifest = self.capture.manifest.unwrap_or(75_000);
        Ok(CaptureConfig {
            manifest: usize::try_from(manifest).context("[capture] manifest")?,
            ceiling: bytes(&self.capture.ceiling, "32MB", "ceiling")?,
            write_ceiling: bytes(&self.capture.write_ceiling, "16MB", "write_ceiling")?,
        })
    }

    pub(super) fn logging(&self) -> anyhow::Result<LoggingConfig> {
        let days = self.logging.keep_days.unwrap_or(30);
        let keep_days = u32::try_from(days)
            .ok()
            .filter(|days| (1..=36_500).contains(days));
        let size = self.logging.size.as_deref().unwrap_or(">=1GB");
        Ok(LoggingConfig {
            keep_days: keep_days.with_context(|| {
                format!("[logging] keep_days = {days}: must be between 1 and 36500")
            })?,
            size: size.parse().context("[logging] size")?,
            auto_clean: self.auto_clean()?,
            sync: self.logging.sync.unwrap_or_default(),
            chain: self.logging.chain.unwrap_or_default(),
        })
    }

    fn auto_clean(&self) -> anyhow::Result<Option<Duration>> {
        let Some(text) = &self.logging.auto_clean else {
            return Ok(None);
        };
        let every = parse_age(text).context("[logging] auto_clean")?;
        ensure!(
            every >= Duration::from_mins(1),
            "[logging] auto_clean = \"{}\": must be at least 1m",
            text.escape_debug()
        );
        Ok(Some(every))
    }
}

pub(super) fn cache_config(
    file: &CacheSettings,
    flags: &CacheSettings,
) -> anyhow::Result<CacheConfig> {
    // Above 32 bits nothing is meant, and times that long overflow the clock.
    const ANY: RangeInclusive<u64> = 1..=u32::MAX as u64;
    let pick = |flag: Option<u64>,
                name: &str,
                key: Option<u64>,
                key_name: &str,
                usual: u64,
                fits: RangeInclusive<u64>| {
        let value = flag.or(key).unwrap_or(usual);
        let named = if flag.is_some() {
            format!("{name} {value}")
        } else {
            format!("[cache] {key_name} = {value}")
        };
        ensure!(
            fits.contains(&value),
            "{named}: must be between {} and {}",
            fits.start(),
            fits.end()
        );
        Ok(value)
    };
    let dir_cap = pick(
        flags.dir_capacity,
        "--cache-dir-cap",
        file.dir_capacity,
        "dir_capacity",
        100_000,
        ANY,
    )?;
    let dir_ttl = pick(
        flags.dir_ttl_secs,
        "--cache-dir-ttl",
        file.dir_ttl_secs,
        "dir_ttl_secs",
        3600,
        ANY,
    )?;
    let file_size = pick(
        flags.file_size_capacity,
        "--cache-file-size",
        file.file_size_capacity,
        "file_size_capacity",
        10_000,
        ANY,
    )?;
    let proc_ttl = pick(
        flags.proc_ttl_secs,
        "--cache-proc-ttl",
        file.proc_ttl_secs,
        "proc_ttl_secs",
        600,
        ANY,
    )?;
    let stats = pick(
        flags.stats_interval_secs,
        "--cache-stats-interval",
        file.stats_interval_secs,
        "stats_interval_secs",
        60,
        ANY,
    )?;
    let buffer_size = pick(
        flags.buffer_size,
        "--buffer-size",
        file.buffer_size,
        "buffer_size",
        32_768,
        4096..=1_048_576,
    )?;
    Ok(CacheConfig {
        dir_cap: usize::try_from(dir_cap)?,
        dir_ttl: Duration::from_secs(dir_ttl),
        file_size: usize::try_from(file_size)?,
        proc_ttl: Duration::from_secs(proc_ttl),
        stats_interval: Duration::from_secs(stats),
        buffer_size: usize::try_from(buffer_size)?,
    })
}
