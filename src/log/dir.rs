//! The directory of the logs, and the lock that keeps `clean` and the recorder apart.
//!
//! The lock is a file of its own (`.lock`, mode 0600). The logs themselves are never locked:
//! anybody who may read one could then hold up the recorder.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::journal::{Change, Changed};
use crate::sys::dirfd::{Access, Dir, Status};
use crate::sys::files;
pub use crate::sys::files::Owner;

/// An open log directory.
#[derive(Debug)]
pub struct LogDir {
    dir: Dir,
    path: PathBuf,
    id: (u64, u64),
}

/// The lock file of a log directory, open but not taken.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    id: (u64, u64),
}

/// The lock, taken; dropping it gives it back.
#[derive(Debug)]
pub struct Held<'a>(&'a File);

impl LogDir {
    /// Opens the directory at `path`, which must be there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = Dir::open(path)?;
        let meta = dir.as_file().metadata()?;
        Ok(Self {
            dir,
            path: path.to_owned(),
            id: (meta.dev(), meta.ino()),
        })
    }

    /// Opens the directory at `path`; what is missing of it is made and handed to `owner`.
    pub fn open_or_make(path: &Path, owner: Option<Owner>) -> io::Result<Self> {
        match Self::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                files::create_dirs(path, owner)?
            }
            other => return other,
        }
        Self::open(path)
    }

    /// Where the directory was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this very directory.
    pub fn is_current(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.id)
    }

    /// Looks at the entry `name`; links are not followed.
    pub fn stat(&self, name: &str) -> io::Result<Option<Status>> {
        self.dir.stat(name)
    }

    /// Opens the log `name` for reading; `None` when it is not there.
    pub fn open_log(&self, name: &str) -> io::Result<Option<File>> {
        match self.open_regular(name, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Opens the log `name` for appending; says whether it had to be made.
    pub fn open_append(&self, name: &str) -> io::Result<(File, bool)> {
        self.open_or_create(name, Access::Append, 0o644)
    }

    /// Makes the entry `name` for this user alone; an error when it is there already.
    pub fn create_private(&self, name: &str) -> io::Result<File> {
        self.dir.create_new(name, Access::Write, 0o600)
    }

    /// Opens the entry `name`, a regular file, for writing anywhere in it.
    pub fn open_write(&self, name: &str) -> io::Result<File> {
        self.open_regular(name, Access::Write)
    }

    /// Renames an entry over another.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.dir.rename(from, to)
    }

    /// Removes an entry.
    pub fn unlink(&self, name: &str) -> io::Result<()> {
        self.dir.unlink(name)
    }

    /// Makes renames survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        self.dir.as_file().sync_all()
    }

    /// Opens the lock file; a new one is handed to `owner`, who must be able to run `clean`.
    pub fn lock_file(&self, owner: Option<Owner>) -> io::Result<DirLock> {
        let (file, made) = self.open_or_create(LOCK_NAME, Access::Write, 0o600)?;
        if made && let Some(owner) = owner {
            // A filesystem without owners refuses, and lets everybody in anyway.
            hand_over(&file, owner).ok();
        }
        let meta = file.metadata()?;
        Ok(DirLock {
            file,
            id: (meta.dev(), meta.ino()),
        })
    }

    /// The names of all event logs, sorted.
    pub fn log_names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name.ends_with(LOG_SUFFIX)
                && !name.starts_with('.')
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open_or_create(&self, name: &str, access: Access, mode: u32) -> io::Result<(File, bool)> {
        loop {
            match self.open_regular(name, access) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.map(|file| (file, false)),
            }
            match self.dir.create_new(name, access, mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|file| (file, true)),
            }
        }
    }

    fn open_regular(&self, name: &str, access: Access) -> io::Result<File> {
        match self.dir.stat(name)? {
            Some(status) if !status.regular => Err(not_regular()),
            _ => {
                let file = self.dir.open_file(name, access)?;
                if file.metadata()?.is_file() {
                    Ok(file)
                } else {
                    Err(not_regular())
                }
            }
        }
    }
}

impl DirLock {
    /// Whether the lock file is still the one that others would open.
    pub fn is_current(&self, dir: &LogDir) -> bool {
        matches!(dir.stat(LOCK_NAME), Ok(Some(status)) if (status.dev, status.ino) == self.id)
    }

    /// Takes the lock if it is free.
    pub fn try_take(&self) -> io::Result<Option<Held<'_>>> {
        match self.file.try_lock() {
            Ok(()) => Ok(Some(Held(&self.file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes the lock as soon as it is free.
    pub fn take(&self) -> io::Result<Held<'_>> {
        self.file.lock()?;
        Ok(Held(&self.file))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Unlocking a descriptor that we hold cannot fail; closing it would unlock, too.
        self.0.unlock().ok();
    }
}

/// Gives an open file to `owner`, unless it has it already.
pub fn hand_over(file: &File, owner: Owner) -> io::Result<()> {
    let meta = file.metadata()?;
    if (meta.uid(), meta.gid()) == (owner.uid, owner.gid) {
        return Ok(());
    }
    owner.take(file)
}

/// Which logs in `dir` have lost something since they had the given sizes.
pub fn changed_since(dir: &Path, sizes: &BTreeMap<String, u64>) -> io::Result<Vec<Changed>> {
    let dir = LogDir::open(dir)?;
    let mut changed = Vec::new();
    for (log, &before) in sizes {
        let after = dir.stat(log)?.map(|found| found.len);
        let how = match after {
            None => Change::Moved,
            Some(after) if after < before => Change::Cut,
            Some(_) => continue,
        };
        changed.push(Changed {
            log: log.clone(),
            how,
            before,
            after: after.unwrap_or(0),
            inode: 0,
        });
    }
    Ok(changed)
}

fn not_regular() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "not a regular file (a link, a directory or a device stands there)",
    )
}

/// How the names of event logs end.
pub const LOG_SUFFIX: &str = "_log.jsonl";

const LOCK_NAME: &str = ".lock";
