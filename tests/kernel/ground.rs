//! Filesystems to test on, each in a temporary directory of its own, taken down even after a panic or kill -9.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::wait::{PATIENCE, until};

const PREFIX: &str = "fsmon-kernel.";
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The kinds of filesystem that the scenarios run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fs {
    Tmpfs,
    Ext4,
    Xfs,
    /// Top level of a btrfs (subvolid=5).
    Btrfs,
    /// A btrfs subvolume, mounted by `subvol=` as distributions do.
    Subvol,
    /// Overlay with default options, upper layer on tmpfs.
    Overlay,
}

impl Fs {
    /// Those that take a filesystem mark or stand for one.
    pub(crate) const MAIN: [Self; 5] = [
        Self::Tmpfs,
        Self::Ext4,
        Self::Xfs,
        Self::Btrfs,
        Self::Subvol,
    ];
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Tmpfs,
        Self::Ext4,
        Self::Xfs,
        Self::Btrfs,
        Self::Subvol,
        Self::Overlay,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Subvol => "subvol",
            Self::Overlay => "overlay",
        }
    }

    /// Program without which there is no such filesystem.
    pub(crate) fn tool(self) -> &'static str {
        match self {
            Self::Tmpfs | Self::Overlay => "mount",
            Self::Ext4 => "mkfs.ext4",
            Self::Xfs => "mkfs.xfs",
            Self::Btrfs | Self::Subvol => "mkfs.btrfs",
        }
    }
}

/// A temporary directory and all that is mounted below it.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) dir: PathBuf,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = base().join(format!("{PREFIX}{}.{number}", process::id()));
        fs::create_dir(&dir).unwrap();
        Self { dir }
    }

    /// An empty directory of that name.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// Mounts a new filesystem of that kind and returns where.
    pub(crate) fn mount(&self, kind: Fs) -> PathBuf {
        let name = format!("{}{}", kind.name(), NEXT.fetch_add(1, Ordering::Relaxed));
        let at = self.directory(&name);
        match kind {
            Fs::Tmpfs => sh(&["mount", "-t", "tmpfs", "fsmon-test"], &[&at]),
            Fs::Ext4 => {
                let image = self.image(&name, "64M");
                sh(
                    &["mkfs.ext4", "-q", "-N", "32768", "-O", "^has_journal"],
                    &[&image],
                );
                sh(&["mount", "-o", "loop"], &[&image, &at]);
            }
            Fs::Xfs => {
                let image = self.image(&name, "640M");
                sh(&["mkfs.xfs", "-q"], &[&image]);
                sh(&["mount", "-o", "loop"], &[&image, &at]);
            }
            Fs::Btrfs => {
                let image = self.btrfs_image(&name);
                sh(&["mount", "-o", "loop"], &[&image, &at]);
            }
            Fs::Subvol => {
                let image = self.btrfs_image(&name);
                sh(&["mount", "-o", "loop"], &[&image, &at]);
                sh(
                    &["btrfs", "-q", "subvolume", "create"],
                    &[&at.join("@home")],
                );
                sh(&["umount"], &[&at]);
                sh(&["mount", "-o", "loop,subvol=@home"], &[&image, &at]);
            }
            Fs::Overlay => {
                let below = self.directory(&format!("{name}.layers"));
                sh(&["mount", "-t", "tmpfs", "fsmon-test"], &[&below]);
                for layer in ["lower", "upper", "work"] {
                    fs::create_dir(below.join(layer)).unwrap();
                }
                let below = below.display();
                let layers =
                    format!("lowerdir={below}/lower,upperdir={below}/upper,workdir={below}/work");
                sh(
                    &["mount", "-t", "overlay", "fsmon-test", "-o", &layers],
                    &[&at],
                );
            }
        }
        at
    }

    /// A sparse file of that size.
    pub(crate) fn image(&self, name: &str, size: &str) -> PathBuf {
        let image = self.dir.join(format!("{name}.img"));
        sh(&["truncate", "-s", size], &[&image]);
        image
    }

    fn btrfs_image(&self, name: &str) -> PathBuf {
        let image = self.image(name, "256M");
        sh(&["mkfs.btrfs", "-q"], &[&image]);
        image
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        take_down(&self.dir);
    }
}

/// Runs a program that must succeed.
pub(crate) fn sh(words: &[&str], paths: &[&Path]) {
    let done = Command::new(words[0])
        .args(&words[1..])
        .args(paths)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", words[0]));
    assert!(
        done.status.success(),
        "{words:?} {paths:?}: {}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Removes what earlier runs left behind that were killed: their processes, mounts, loop devices and files.
pub(crate) fn sweep() {
    let Ok(entries) = fs::read_dir(base()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let owner = rest.split('.').next().unwrap_or_default();
        if fs::symlink_metadata(format!("/proc/{owner}")).is_err() {
            end_processes_of(&entry.path());
            take_down(&entry.path());
        }
    }
}

/// Where the machine's number of pids is kept while a test lowers it.
pub(crate) fn kept_pid_max() -> PathBuf {
    base().join("fsmon-kernel-pid-max")
}

fn base() -> PathBuf {
    std::env::temp_dir().canonicalize().unwrap()
}

fn take_down(dir: &Path) {
    for at in mounts_below(dir).iter().rev() {
        // Lazy: a process that was killed a moment ago may still hold a file open. Loop devices
        // made by mount(8) go with their last mount.
        Command::new("umount").arg("-l").arg(at).output().ok();
    }
    if mounts_below(dir).is_empty() {
        fs::remove_dir_all(dir).ok();
    }
}

/// Mount points below `dir` in the order in which they were made.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(dir))
        .collect()
}

/// Kills the recorders whose home lies in `dir`.
fn end_processes_of(dir: &Path) {
    let mut wanted = b"HOME=".to_vec();
    wanted.extend_from_slice(dir.as_os_str().as_bytes());
    wanted.push(b'/');
    let Ok(entries) = fs::read_dir("/proc") else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(environment) = fs::read(entry.path().join("environ")) else {
            continue;
        };
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id
            && environment
                .split(|byte| *byte == 0)
                .any(|variable| variable.starts_with(&wanted))
        {
            rustix::process::kill_process(id, rustix::process::Signal::KILL).ok();
        }
    }
}

/// Unmounts what a daemon may look at just now.
pub(crate) fn unmount(point: &Path) {
    let gone = || {
        let done = Command::new("umount").arg(point).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() || said.contains("busy"), "{said}");
        done.status.success().then_some(())
    };
    assert!(
        until(PATIENCE, gone).is_some(),
        "{} stays busy",
        point.display()
    );
}
