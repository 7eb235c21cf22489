//! fsmon.toml, flags and defaults become one Config; whose home, and where every file is.
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use crate::filters::size::{SizeFilter, parse_size};
use crate::filters::time::parse_age;
use crate::sys::account::{Account, account, effective_uid};
use crate::sys::files::{as_user, read_regular};

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

/// What the environment says, as values, so that tests need no environment.
struct Surroundings {
    euid: u32,
    home: Option<PathBuf>,
    xdg_config_home: Option<PathBuf>,
    sudo_uid: Option<u32>,
    sudo_gid: Option<u32>,
    sudo_user: Option<OsString>,
    test: String,
    account: fn(u32) -> Option<Account>,
}

/// For whom this runs.
struct Person {
    uid: u32,
    owner: Option<Owner>,
    home: PathBuf,
    config_dir: PathBuf,
}

impl Surroundings {
    fn of_process() -> Self {
        let number = |name| env::var(name).ok().and_then(|text| text.parse().ok());
        // HOME, else the database; and XDG_CONFIG_HOME, else ~/.config.
        let base = directories::BaseDirs::new();
        let absolute = |path: &Path| Some(path.to_owned()).filter(|path| path.is_absolute());
        Self {
            euid: effective_uid(),
            home: base.as_ref().and_then(|base| absolute(base.home_dir())),
            xdg_config_home: base.as_ref().and_then(|base| absolute(base.config_dir())),
            sudo_uid: number("SUDO_UID"),
            sudo_gid: number("SUDO_GID"),
            sudo_user: env::var_os("SUDO_USER"),
            test: env::var("FSMON_TEST").unwrap_or_default(),
            account,
        }
    }

    fn person(&self) -> Person {
        if let Some(person) = self.person_behind_sudo() {
            return person;
        }
        let home = self.home.clone();
        let home = home.or_else(|| (self.account)(self.euid).map(|account| account.home));
        let home = home.unwrap_or_else(|| PathBuf::from("/root"));
        let config_dir = self
            .xdg_config_home
            .clone()
            .unwrap_or_else(|| home.join(".config"));
        Person {
            uid: self.euid,
            owner: None,
            home,
            config_dir,
        }
    }

    /// SUDO_UID alone is just a variable: it counts when the database gives it the name in SUDO_USER.
    fn person_behind_sudo(&self) -> Option<Person> {
        let uid = self.sudo_uid.filter(|uid| self.euid == 0 && *uid != 0)?;
        let found =
            (self.account)(uid).filter(|found| Some(&found.name) == self.sudo_user.as_ref())?;
        let gid = self.sudo_gid.unwrap_or(found.gid);
        let config_dir = found.home.join(".config");
        Some(Person {
            uid,
            owner: Some(Owner { uid, gid }),
            home: found.home,
            config_dir,
        })
    }
}

impl Person {
    fn config_file(&self) -> PathBuf {
        self.config_dir.join("fsmon/fsmon.toml")
    }

    fn expand(&self, typed: &str, key: &str) -> anyhow::Result<PathBuf> {
        let typed = typed.replace("<UID>", &self.uid.to_string());
        let path = match typed.strip_prefix('~') {
            Some(below) if below.is_empty() || below.starts_with('/') => {
                self.home.join(below.trim_start_matches('/'))
            }
            _ => PathBuf::from(&typed),
        };
        ensure!(
            path.is_absolute(),
            "{key}: '{}' is not an absolute path",
            typed.escape_debug()
        );
        ensure!(
            !typed.contains('\0'),
            "{key}: '{}' holds a NUL",
            typed.escape_debug()
        );
        Ok(path)
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_regular(path, MOST_BYTES)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// No configuration is so long.
const MOST_BYTES: u64 = 4 << 20;

/// fsmon.toml as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    monitored: Place,
    logging: LoggingSettings,
    socket: Place,
    cache: CacheSettings,
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
    fn read(path: &Path) -> anyhow::Result<Self> {
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

    fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
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

    fn paths(&self, person: &Person) -> anyhow::Result<Paths> {
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

    fn capture(&self) -> anyhow::Result<CaptureConfig> {
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

    fn logging(&self) -> anyhow::Result<LoggingConfig> {
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

fn cache_config(file: &CacheSettings, flags: &CacheSettings) -> anyhow::Result<CacheConfig> {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn alice(uid: u32) -> Option<Account> {
        (uid == 1000).then(|| Account {
            name: "alice".into(),
            gid: 100,
            home: "/home/alice".into(),
        })
    }

    fn around(home: &Path) -> Surroundings {
        Surroundings {
            euid: 0,
            home: Some(home.to_owned()),
            xdg_config_home: None,
            sudo_uid: None,
            sudo_gid: None,
            sudo_user: None,
            test: String::new(),
            account: alice,
        }
    }

    fn with_file(text: &str) -> anyhow::Result<Config> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".config/fsmon")).unwrap();
        fs::write(home.path().join(".config/fsmon/fsmon.toml"), text).unwrap();
        Config::of(&around(home.path()), &CacheSettings::default())
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", with_file(text).unwrap_err())
    }

    #[test]
    fn without_a_file_everything_has_its_usual_place() {
        let config = Config::of(&around(Path::new("/nowhere")), &CacheSettings::default()).unwrap();
        let paths = config.paths;
        assert_eq!(
            paths.config_file,
            Path::new("/nowhere/.config/fsmon/fsmon.toml")
        );
        assert_eq!(
            paths.store_file,
            Path::new("/nowhere/.local/share/fsmon/monitored.jsonl")
        );
        assert_eq!(paths.log_dir, Path::new("/nowhere/.local/state/fsmon"));
        assert_eq!(
            paths.journal,
            Path::new("/nowhere/.local/state/fsmon/journal.jsonl")
        );
        assert_eq!(paths.socket, Path::new("/tmp/fsmon-0.sock"));
        assert_eq!(paths.lock, Path::new("/tmp/fsmon-0.lock"));
        assert_eq!(
            (config.cache.dir_cap, config.cache.buffer_size),
            (100_000, 32_768)
        );
        assert_eq!(
            (config.capture.ceiling, config.capture.write_ceiling),
            (32 << 20, 16 << 20)
        );
        assert_eq!(config.logging.size.to_string(), ">=1.0GB");
        assert_eq!(config.logging.auto_clean, None);
    }

    #[test]
    fn every_section_and_key_is_optional() {
        with_file("").unwrap();
        with_file("[cache]\n").unwrap();
        let config = with_file(
            "[logging]\nkeep_days = 7\nsize = \"10MB\"\nauto_clean = \"1h30m\"\nsync = \"always\"\nchain = \"always\"\n\
             [socket]\npath = \"/run/fsmon-<UID>.sock\"\n[monitored]\npath = \"~/m.jsonl\"\n\
             [cache]\nproc_ttl_secs = 5\n[capture]\nceiling = \"1MB\"\n",
        )
        .unwrap();
        assert_eq!(config.logging.keep_days, 7);
        assert_eq!(config.logging.auto_clean, Some(Duration::from_mins(90)));
        assert_eq!(
            (config.logging.sync, config.logging.chain),
            (Sync::Always, Chain::Always)
        );
        assert_eq!(config.paths.socket, Path::new("/run/fsmon-0.sock"));
        assert_eq!(config.paths.store_file, config.home.join("m.jsonl"));
        assert_eq!(config.cache.proc_ttl, Duration::from_secs(5));
        assert_eq!(config.capture.ceiling, 1 << 20);
    }

    #[test]
    fn a_mistake_names_its_line_or_key() {
        let unknown = complaint("[logging]\nkeep_days = 7\nkept = 1\n");
        assert!(
            unknown.contains("fsmon.toml', line 3: unknown field `kept`"),
            "{unknown}"
        );
        assert!(!unknown.contains('\n'));
        assert!(complaint("[loging]\n").contains("line 1: unknown field `loging`"));
        assert!(complaint("\nx\n").contains("line 2"));
        assert!(
            complaint("[cache]\nbuffer_size = 100\n")
                .contains("[cache] buffer_size = 100: must be between 4096")
        );
        assert!(complaint("[cache]\ndir_capacity = 0\n").contains("dir_capacity = 0: must be"));
        assert!(
            complaint("[logging]\nsize = \"zz\"\n")
                .contains("[logging] size: 'zz' is not a size filter")
        );
        assert!(complaint("[logging]\nkeep_days = 0\n").contains("keep_days = 0"));
        assert!(
            complaint("[logging]\nauto_clean = \"59s\"\n")
                .contains("[logging] auto_clean = \"59s\": must be at least 1m")
        );
        assert!(
            complaint("[logging]\nauto_clean = \"daily\"\n")
                .contains("[logging] auto_clean: 'daily' is not a length of time")
        );
        assert!(complaint("[socket]\npath = \"rel\"\n").contains("not an absolute path"));
        assert!(complaint("[socket]\npath = \"/tmp/x.lock\"\n").contains(".lock"));
    }

    #[test]
    fn flags_win_over_the_file_and_are_checked_too() {
        let flags = CacheSettings {
            buffer_size: Some(8192),
            ..CacheSettings::default()
        };
        let file = CacheSettings {
            buffer_size: Some(4096),
            dir_capacity: Some(5),
            ..CacheSettings::default()
        };
        let cache = cache_config(&file, &flags).unwrap();
        assert_eq!(
            (cache.buffer_size, cache.dir_cap, cache.file_size),
            (8192, 5, 10_000)
        );
        let zero = CacheSettings {
            file_size_capacity: Some(0),
            ..CacheSettings::default()
        };
        let complaint = cache_config(&file, &zero).unwrap_err().to_string();
        assert!(
            complaint.starts_with("--cache-file-size 0: must be between 1"),
            "{complaint}"
        );
    }

    #[test]
    fn root_works_for_the_user_behind_sudo_when_the_name_fits() {
        let sudo = |user: &str| Surroundings {
            sudo_uid: Some(1000),
            sudo_gid: Some(1001),
            sudo_user: Some(user.into()),
            xdg_config_home: Some("/root/xdg".into()),
            ..around(Path::new("/root"))
        };
        let alice = sudo("alice").person();
        assert_eq!(
            (alice.uid, alice.owner),
            (
                1000,
                Some(Owner {
                    uid: 1000,
                    gid: 1001
                })
            )
        );
        assert_eq!(alice.config_dir, Path::new("/home/alice/.config"));
        let mallory = sudo("mallory").person();
        assert_eq!((mallory.uid, mallory.owner), (0, None));
        assert_eq!(mallory.config_dir, Path::new("/root/xdg"));
        let unprivileged = Surroundings {
            euid: 7,
            ..sudo("alice")
        };
        assert_eq!(
            (unprivileged.person().uid, unprivileged.person().owner),
            (7, None)
        );
    }

    #[test]
    fn a_path_that_no_file_can_have_is_refused() {
        let text = "[logging]\npath = \"/a\\u0000b\"\n";
        assert_eq!(complaint(text), "[logging] path: '/a\\0b' holds a NUL");
    }

    #[test]
    fn test_switches_are_a_comma_list() {
        let switches = TestSwitches::parse("no-perf, read-delay-ms=50").unwrap();
        assert!(switches.no_perf && !switches.legacy_fanotify);
        assert_eq!(switches.read_delay, Some(Duration::from_millis(50)));
        assert!(TestSwitches::parse("nonsense").is_err());
    }
}
