//! The file beside a log that is cleaned: where the new log grows, and the sign that one is at work.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::log::dir::LogDir;

/// The new file beside the log; it goes away again unless it was renamed.
pub(super) struct Temp<'a> {
    dir: &'a LogDir,
    pub(super) name: String,
    pub(super) file: File,
    pub(super) renamed: bool,
}

impl<'a> Temp<'a> {
    /// Makes the file and locks it. One that a killed `clean` left behind is not locked and is
    /// removed; a locked one means that another `clean` is at work.
    pub(super) fn make(dir: &'a LogDir, name: String) -> io::Result<Self> {
        loop {
            match dir.create_private(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    remove_stale(dir, &name)?
                }
                made => {
                    let temp = Self {
                        dir,
                        name: name.clone(),
                        file: made?,
                        renamed: false,
                    };
                    if lock_free(&temp.file)? && names(dir, &name, &temp.file)? {
                        return Ok(temp);
                    }
                }
            }
        }
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.renamed && names(self.dir, &self.name, &self.file).unwrap_or(false) {
            // Nothing more can be done about a file that will not go; the next clean tries again.
            self.dir.unlink(&self.name).ok();
        }
    }
}

fn remove_stale(dir: &LogDir, name: &str) -> io::Result<()> {
    let file = match dir.open_write(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !lock_free(&file)? {
        return Err(io::Error::other("another clean of this log is at work"));
    }
    if names(dir, name, &file)? {
        dir.unlink(name)
    } else {
        Ok(())
    }
}

fn lock_free(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether `name` means this very file.
pub(super) fn names(dir: &LogDir, name: &str, file: &File) -> io::Result<bool> {
    let meta = file.metadata()?;
    Ok(dir
        .stat(name)?
        .is_some_and(|found| (found.dev, found.ino) == (meta.dev(), meta.ino())))
}
