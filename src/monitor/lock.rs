//! One daemon a user: a lock file that nobody else can plant.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::config::Owner;
use crate::monitored::path::quoted;
use crate::sys::account::effective_uid;
use crate::sys::files::{as_user, open_nofollow};

/// The lock, held until it is dropped; the file goes with it.
#[derive(Debug)]
pub struct DaemonLock {
    path: PathBuf,
    _file: File,
}

impl DaemonLock {
    /// Takes the lock, or says who has it.
    pub fn take(path: &Path, owner: Option<Owner>) -> anyhow::Result<Self> {
        as_user(owner, || Self::take_as_user(path, owner))
    }

    fn take_as_user(path: &Path, owner: Option<Owner>) -> anyhow::Result<Self> {
        let doing = || format!("cannot take the lock {}", quoted(path));
        loop {
            let mut file = open_nofollow(
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600),
                path,
            )
            .with_context(doing)?;
            let found = file.metadata().with_context(doing)?;
            let ours = owner.map_or_else(effective_uid, |owner| owner.uid);
            // A second name would be a file of somebody's that was linked here to be overwritten.
            if !found.is_file() || found.uid() != ours || found.nlink() != 1 {
                bail!("{}: it is not a lock file of user {ours}", doing());
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    file.take(20).read_to_string(&mut pid).ok();
                    bail!(
                        "Another fsmon daemon is already running (PID {})",
                        pid.trim()
                    );
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
            }
            // The daemon before may have taken the file away between our open and our lock.
            let here = path
                .symlink_metadata()
                .is_ok_and(|there| (there.dev(), there.ino()) == (found.dev(), found.ino()));
            if !here {
                continue;
            }
            file.set_len(0).with_context(doing)?;
            file.write_all(std::process::id().to_string().as_bytes())
                .with_context(doing)?;
            return Ok(Self {
                path: path.to_owned(),
                _file: file,
            });
        }
    }
}

impl Drop for DaemonLock {
    fn drop(&mut self) {
        // While the lock is held the name can only be ours; a name that is gone is what we want.
        std::fs::remove_file(&self.path).ok();
    }
}
