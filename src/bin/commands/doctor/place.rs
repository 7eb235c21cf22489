//! A directory for the self-test that nobody else can reach into, and that goes whatever happens.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process;

use fsmon::monitor::ask::open_dir;
use fsmon::sys::account::effective_uid;
use fsmon::sys::files::open_nofollow;

/// A directory of this user's alone; it is removed when this is dropped.
///
/// Who owns the directory above may put another one in its place at any moment, so it is only reached through
/// its descriptor.
#[derive(Debug)]
pub(super) struct Place {
    above: File,
    name: String,
    dir: File,
    path: PathBuf,
}

impl Place {
    /// Makes a new directory in `base`.
    pub(super) fn make(base: &Path) -> io::Result<Self> {
        let base = base.canonicalize()?;
        let above = open_dir(&base)?;
        let mut number = 0;
        let name = loop {
            let name = format!("fsmon-doctor.{}.{number}", process::id());
            match DirBuilder::new()
                .mode(0o700)
                .create(within(&above).join(&name))
            {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MOST => {
                    number += 1;
                }
                made => {
                    made?;
                    break name;
                }
            }
        };
        let dir = open_nofollow(OpenOptions::new().read(true), &within(&above).join(&name));
        let dir = dir.and_then(|dir| is_ours(&dir).map(|()| dir));
        let dir = match dir {
            Ok(dir) => dir,
            Err(error) => {
                fs::remove_dir(within(&above).join(&name)).ok();
                return Err(error);
            }
        };
        Ok(Self {
            path: base.join(&name),
            above,
            name,
            dir,
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself.
    pub(super) fn dir(&self) -> &File {
        &self.dir
    }

    /// The same, as a path by which this process and its children reach it before they execute a program.
    pub(super) fn inside(&self) -> PathBuf {
        within(&self.dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let entries = fs::read_dir(self.inside()).into_iter().flatten().flatten();
        for entry in entries {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let path = self.inside().join(entry.file_name());
            // What cannot be removed stays; there is nobody left to do anything about it.
            if is_dir {
                fs::remove_dir_all(path).ok();
            } else {
                fs::remove_file(path).ok();
            }
        }
        fs::remove_dir(within(&self.above).join(&self.name)).ok();
    }
}

/// Whether this is what was made a moment ago, and nothing that was put in its place.
fn is_ours(dir: &File) -> io::Result<()> {
    let meta = dir.metadata()?;
    let is_private = meta.is_dir() && meta.uid() == effective_uid() && meta.mode() & 0o777 == 0o700;
    if is_private && fs::read_dir(within(dir))?.next().is_none() {
        return Ok(());
    }
    Err(io::Error::other("somebody put something else in its place"))
}

fn within(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()))
}

/// So many names may be taken by what was left behind.
const MOST: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_all_that_was_made_in_it() {
        let base = tempfile::tempdir().unwrap();
        let place = Place::make(base.path()).unwrap();
        let path = place.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(place.inside().join("a/b/c"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", path.join("link")).unwrap();
        drop(place);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
        assert!(Path::new("/etc").is_dir());
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let taken = base
            .path()
            .join(format!("fsmon-doctor.{}.0", process::id()));
        std::os::unix::fs::symlink("/etc", &taken).unwrap();
        let place = Place::make(base.path()).unwrap();
        assert!(
            place
                .path()
                .ends_with(format!("fsmon-doctor.{}.1", process::id()))
        );
        drop(place);
        assert!(taken.is_symlink());
        assert!(Place::make(&base.path().join("none")).is_err());
    }
}
