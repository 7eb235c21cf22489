//! How much there may be of everything, and how near that is.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Check, Part, State};
use crate::config::{CaptureConfig, Config};
use crate::filters::size::human_size;
use crate::sys::account::effective_uid;
use crate::sys::limits::{self, Limit};
use crate::sys::{clock, statfs};

pub use crate::sys::statfs::Space;

/// What was found; `None` where the machine does not tell.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `fs.fanotify.max_user_groups`, and how many this user has open.
    pub groups: Option<(u64, u64)>,
    /// `fs.fanotify.max_queued_events` and `fs.fanotify.max_user_marks`.
    pub not_binding: Option<(u64, u64)>,
    /// Descriptors that a process of this user may have open.
    pub open_files: Option<Limit>,
    /// CPUs, each with a ring.
    pub cpus: u64,
    /// Memory that a process of this user may lock.
    pub locked_memory: Option<Limit>,
    /// `kernel.perf_event_mlock_kb`: ring memory on each CPU that counts against nothing.
    pub ring_kib: Option<u64>,
    /// `kernel.pid_max`, and how many processes and threads were born since the machine runs so long.
    pub pids: Option<(u64, u64, Duration)>,
    /// Room where the logs are.
    pub log_space: Option<Space>,
    /// Whose memory cgroup: its limit and what is used of it. `Ok(None)` is no limit.
    pub memory: Option<Option<(u64, u64)>>,
    /// Memory that the recorder may fill.
    pub capture: CaptureConfig,
}

/// Looks at the limits; `daemon` is the process id of a daemon that runs.
pub fn check(config: &Config, daemon: Option<u32>) -> Vec<Check> {
    let whose = daemon.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    judge(&Facts {
        groups: number("/proc/sys/fs/fanotify/max_user_groups").map(|most| (most, groups_in_use())),
        not_binding: number("/proc/sys/fs/fanotify/max_queued_events")
            .zip(number("/proc/sys/fs/fanotify/max_user_marks")),
        open_files: limits::open_files().ok(),
        cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64),
        locked_memory: limits::locked_memory().ok(),
        ring_kib: number("/proc/sys/kernel/perf_event_mlock_kb"),
        pids: pids(),
        log_space: space_at(&config.paths.log_dir),
        memory: memory_limit(&whose),
        capture: config.capture,
    })
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// How many fanotify groups the processes of this user hold, as far as they can be looked at.
fn groups_in_use() -> u64 {
    let uid = effective_uid();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
            && entry.metadata().is_ok_and(|meta| meta.uid() == uid)
    });
    let files = processes.flat_map(|entry| {
        let files = fs::read_dir(entry.path().join("fd"));
        files.into_iter().flatten().flatten()
    });
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter(|link| link.as_os_str() == "anon_inode:[fanotify]")
        .count() as u64
}

fn pids() -> Option<(u64, u64, Duration)> {
    let most = number("/proc/sys/kernel/pid_max")?;
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let born = stat
        .lines()
        .find_map(|line| line.strip_prefix("processes "))?;
    let up = Duration::from_nanos(clock::boottime());
    Some((most, born.trim().parse().ok()?, up))
}

/// The room where a directory is, or is going to be.
fn space_at(dir: &Path) -> Option<Space> {
    let there = dir.ancestors().find_map(|dir| fs::File::open(dir).ok())?;
    statfs::space_of(&there).ok()
}

/// The tightest limit of the cgroups that a process is in; `None` when there is no way to tell.
fn memory_limit(process: &str) -> Option<Option<(u64, u64)>> {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let of = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    let (root, below, limit, used) = match of("0::") {
        Some(below)
            if Path::new("/sys/fs/cgroup/cgroup.controllers")
                .symlink_metadata()
                .is_ok() =>
        {
            ("/sys/fs/cgroup", below, "memory.max", "memory.current")
        }
        _ => {
            let below = text.lines().find_map(|line| line.split_once(":memory:"))?.1;
            let files = ("memory.limit_in_bytes", "memory.usage_in_bytes");
            ("/sys/fs/cgroup/memory", below, files.0, files.1)
        }
    };
    let mut dir = PathBuf::from(root).join(below.trim_start_matches('/'));
    let mut tightest: Option<(u64, u64)> = None;
    let mut told = false;
    while dir.starts_with(root) {
        told |= dir.join("cgroup.procs").symlink_metadata().is_ok();
        // `max` is no number. cgroup v1 says it with a number beyond all memory.
        if let (Some(most), Some(now)) = (number(dir.join(limit)), number(dir.join(used)))
            && most < UNLIMITED
            && tightest.is_none_or(|(least, _)| most < least)
        {
            tightest = Some((most, now));
        }
        if !dir.pop() {
            break;
        }
    }
    told.then_some(tightest)
}

/// So much memory nobody has.
const UNLIMITED: u64 = 1 << 60;

/// Says what it is worth.
pub fn judge(facts: &Facts) -> Vec<Check> {
    let unknown = |name| Part::Limits.check(name, State::Unknown, "the machine does not tell it");
    vec![
        facts
            .groups
            .map_or_else(|| unknown("fanotify groups"), groups),
        facts
            .not_binding
            .map_or_else(|| unknown("fanotify marks"), marks),
        facts
            .open_files
            .map_or_else(|| unknown("open files"), |limit| files(limit, facts.cpus)),
        rings(facts),
        facts.pids.map_or_else(|| unknown("pids"), reuse),
        facts.log_space.map_or_else(|| unknown("log space"), space),
        facts
            .memory
            .map_or_else(|| unknown("memory"), |limit| memory(limit, facts.capture)),
    ]
}

fn groups((most, used): (u64, u64)) -> Check {
    let left = most.saturating_sub(used);
    let state = match left {
        0..FEW_GROUPS => State::Missing,
        FEW_GROUPS..MANY_GROUPS => State::Limited,
        _ => State::Ok,
    };
    let text = format!(
        "{used} of {most} that this user may have; fsmon takes one, one more for each watched FUSE mount or filesystem with the id of another, one for rules that refuse"
    );
    let check = Part::Limits.check("fanotify groups", state, text);
    if state == State::Ok {
        check
    } else {
        check.hint("raise fs.fanotify.max_user_groups")
    }
}

/// The group of events, that of the gate, and one for a look.
const FEW_GROUPS: u64 = 3;
const MANY_GROUPS: u64 = 10;

fn marks((queued, marks): (u64, u64)) -> Check {
    let text = format!(
        "max_user_marks ({marks}) and max_queued_events ({queued}) bind other programs; fsmon's groups have no limit of their own, and [capture] ceiling bounds what waits"
    );
    Part::Limits.check("fanotify marks", State::Ok, text)
}

fn files(limit: Limit, cpus: u64) -> Check {
    let needs = cpus + 128;
    let text = format!(
        "{} (up to {}); a ring on each CPU, logs and clients need some {needs}",
        told(limit.soft),
        told(limit.hard)
    );
    let check = |state| Part::Limits.check("open files", state, text);
    if limit.soft >= needs {
        check(State::Ok)
    } else {
        check(State::Limited).hint("raise it with `ulimit -n`, or LimitNOFILE= in the service")
    }
}

fn told(limit: u64) -> String {
    if limit == u64::MAX {
        "no limit".to_owned()
    } else {
        limit.to_string()
    }
}

/// A ring and the page before it.
const RING_KIB: u64 = 512 + 4;

fn rings(facts: &Facts) -> Check {
    let check = |state, text: String| Part::Limits.check("perf rings", state, text);
    let (Some(free), Some(locked)) = (facts.ring_kib, facts.locked_memory) else {
        return check(State::Unknown, "the machine does not tell it".to_owned());
    };
    let more = RING_KIB.saturating_sub(free).saturating_mul(facts.cpus);
    let locked_kib = locked.soft / 1024;
    let shown = if locked.soft == u64::MAX {
        "no limit".to_owned()
    } else {
        human_size(locked.soft)
    };
    let text = format!(
        "{RING_KIB} KiB on each of {} CPUs: kernel.perf_event_mlock_kb gives {free}, RLIMIT_MEMLOCK {shown} in all",
        facts.cpus
    );
    if more <= locked_kib {
        check(State::Ok, text)
    } else {
        check(State::Limited, text).hint(format!(
            "without CAP_IPC_LOCK the rings become smaller; set kernel.perf_event_mlock_kb to {RING_KIB}"
        ))
    }
}

fn reuse((most, born, up): (u64, u64, Duration)) -> Check {
    let seconds = up.as_secs().max(1);
    let comes_back = most.saturating_mul(seconds) / born.max(1);
    let text = format!(
        "kernel.pid_max is {most}: at the {} births a second since the machine runs, a pid comes back after {}",
        (born / seconds).max(1),
        span(comes_back)
    );
    let check = |state| Part::Limits.check("pids", state, text);
    if comes_back >= SOON {
        check(State::Ok)
    } else {
        check(State::Limited)
            .hint("kernel.pid_max = 4194304 keeps dead and living apart for longer")
    }
}

/// A pid that comes back within so many seconds may still be spoken of.
const SOON: u64 = 60;

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn space(space: Space) -> Check {
    let files = if space.files == 0 {
        String::new()
    } else {
        format!("; {} files more", space.free_files)
    };
    let text = format!(
        "{} of {} free for logs{files}",
        human_size(space.free_bytes),
        human_size(space.bytes)
    );
    let no_files = space.files > 0 && space.free_files < 16;
    let state = if space.free_bytes < 1 << 20 || no_files {
        State::Missing
    } else if space.free_bytes < 1 << 30 || space.free_bytes < space.bytes / 50 {
        State::Limited
    } else {
        State::Ok
    };
    let check = Part::Limits.check("log space", state, text);
    if state == State::Ok {
        check
    } else {
        check.hint("`fsmon clean` trims logs, [logging] auto_clean does it by itself, [logging] path puts them elsewhere")
    }
}

fn memory(limit: Option<(u64, u64)>, capture: CaptureConfig) -> Check {
    let check = |state, text: String| Part::Limits.check("memory", state, text);
    let Some((most, used)) = limit else {
        return check(State::Ok, "no cgroup limits it".to_owned());
    };
    let needs = capture.ceiling + capture.write_ceiling + BESIDES;
    let left = most.saturating_sub(used);
    let text = format!(
        "the cgroup has {} of {} left; fsmon fills up to {} ([capture] ceiling and write_ceiling, and what it knows)",
        human_size(left),
        human_size(most),
        human_size(needs)
    );
    if most >= needs {
        check(State::Ok, text)
    } else {
        check(State::Limited, text).hint("raise the limit, or lower [capture] ceiling")
    }
}

/// Process table, directories and buffers.
const BESIDES: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn roomy() -> Facts {
        let much = Limit {
            soft: 1024,
            hard: 4096,
        };
        Facts {
            groups: Some((128, 2)),
            not_binding: Some((16_384, 8192)),
            open_files: Some(much),
            cpus: 2,
            locked_memory: Some(much),
            ring_kib: Some(516),
            pids: Some((4_194_304, 1000, Duration::from_secs(1000))),
            log_space: Some(Space {
                bytes: 100 << 30,
                free_bytes: 50 << 30,
                files: 1000,
                free_files: 900,
            }),
            memory: Some(None),
            capture: CaptureConfig {
                ceiling: 32 << 20,
                write_ceiling: 16 << 20,
                manifest: 100_000,
            },
        }
    }

    fn states(facts: &Facts) -> Vec<(&'static str, State)> {
        let found = judge(facts);
        let bad = found.iter().filter(|check| check.state != State::Ok);
        bad.map(|check| (check.name, check.state)).collect()
    }

    #[test]
    fn where_there_is_room_nothing_is_said_against_it() {
        assert_eq!(states(&roomy()), []);
        assert_eq!(judge(&roomy()).len(), 7);
    }

    #[test]
    fn what_is_nearly_used_up_is_told_with_a_way_out() {
        let tight = Facts {
            groups: Some((128, 127)),
            open_files: Some(Limit { soft: 64, hard: 64 }),
            cpus: 64,
            ring_kib: Some(64),
            pids: Some((32_768, 10_000_000, Duration::from_secs(10_000))),
            log_space: Some(Space {
                bytes: 1 << 40,
                free_bytes: 1 << 31,
                files: 0,
                free_files: 0,
            }),
            memory: Some(Some((16 << 20, 1 << 20))),
            ..roomy()
        };
        assert_eq!(
            states(&tight),
            [
                ("fanotify groups", State::Missing),
                ("open files", State::Limited),
                ("perf rings", State::Limited),
                ("pids", State::Limited),
                ("log space", State::Limited),
                ("memory", State::Limited)
            ]
        );
        let lacking = judge(&tight);
        let mut lacking = lacking.iter().filter(|check| check.state != State::Ok);
        assert!(lacking.all(|check| check.hint.is_some()));
    }

    #[test]
    fn a_full_disk_is_missing_and_what_nobody_tells_is_unknown() {
        let mut blind = roomy();
        blind.groups = None;
        blind.log_space = Some(Space {
            bytes: 1 << 40,
            free_bytes: 1 << 39,
            files: 1000,
            free_files: 3,
        });
        assert_eq!(
            states(&blind),
            [
                ("fanotify groups", State::Unknown),
                ("log space", State::Missing)
            ]
        );
    }

    #[test]
    fn pids_come_back_as_fast_as_processes_are_born() {
        let check = reuse((32_768, 3600 * 100, Duration::from_secs(3600)));
        assert!(check.text.contains("100 births a second"), "{}", check.text);
        assert!(check.text.ends_with("after 5 min"), "{}", check.text);
    }
}
