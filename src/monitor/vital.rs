//! How the daemon is: since when it runs, what it takes, what it saw and how.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Instant;

use super::engine::{Engine, Marked};
use super::marks::mount_of;
use super::roots::Roots;
use crate::event::WallTime;
use crate::log::line::write_time;
use crate::monitored::{Watch, WatchSet};
use crate::socket::health::{Events, Filesystem, Health, Known, LeftOut, Watched};
use crate::sys::{clock, mount};

/// When the daemon began.
#[derive(Debug)]
pub(super) struct Began {
    wall: WallTime,
    at: Instant,
}

impl Began {
    pub(super) fn now() -> Self {
        Self {
            wall: WallTime(clock::realtime()),
            at: Instant::now(),
        }
    }

    /// Fills in what is known of the process.
    pub(super) fn tell(&self, health: &mut Health) {
        let mut since = Vec::new();
        write_time(self.wall, &mut since);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        env!("CARGO_PKG_VERSION").clone_into(&mut health.version);
        health.pid = std::process::id();
        health.since = String::from_utf8_lossy(&since).into_owned();
        health.up_secs = self.at.elapsed().as_secs();
        health.memory_kib = number("VmRSS:");
        health.memory_peak_kib = number("VmHWM:");
    }
}

impl Engine {
    /// Fills in what was seen, what is known and how it is watched.
    pub fn tell_health(&mut self, health: &mut Health) {
        let pipeline = &mut self.pipeline;
        let (directories, bytes) = pipeline.directories();
        let (files, counts) = (pipeline.files(), pipeline.counts());
        let processes = pipeline.processes().stats();
        health.events = Events {
            records: counts.records,
            lines: counts.told,
            own: counts.own,
            exact: counts.told - counts.ambiguous - counts.unknown,
            ambiguous: counts.ambiguous,
            unknown: counts.unknown,
            left_out: LeftOut {
                types: counts.left_out.types,
                size: counts.left_out.size,
                exclude: counts.left_out.exclude,
                group: counts.left_out.group,
            },
        };
        health.losses.process_records = processes.lost;
        health.losses.unplaced = counts.unplaced;
        health.losses.malformed = counts.malformed;
        health.known = Known {
            directories: directories as u64,
            directory_bytes: bytes as u64,
            files: files as u64,
            processes: processes.alive as u64,
            dead_processes: processes.dead as u64,
            asked: counts.asked,
            ..Known::default()
        };
        health.filesystems = self.marked.iter().map(Marked::told).collect();
    }

    /// Tells of each watch whether its path is there and how the filesystem that it is on is watched.
    pub(super) fn tell_watches(&self, watches: &WatchSet, roots: &Roots) -> Vec<Watched> {
        // Without the table nobody knows which filesystem a path is on.
        let mounts = mount::mounts().unwrap_or_default();
        let way_to = |path: &Path| {
            let home = mount_of(path.as_os_str().as_bytes(), &mounts)?;
            let mut marked = self.marked.iter();
            marked.find(|marked| marked.dev == mounts[home].dev)
        };
        let told = |watch: &Watch| Watched {
            group: watch.group.as_str().to_owned(),
            path: watch.path.to_string_lossy().into_owned(),
            there: roots.has(&watch.path),
            way: way_to(&watch.path)
                .map_or("", |marked| marked.way.name())
                .to_owned(),
        };
        watches.iter().map(told).collect()
    }
}

impl Marked {
    fn told(&self) -> Filesystem {
        Filesystem {
            point: self.through.to_string_lossy().into_owned(),
            fstype: self.fstype.clone(),
            way: self.way.name().to_owned(),
        }
    }
}
