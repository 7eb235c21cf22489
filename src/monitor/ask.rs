//! Asks the kernel what the pipeline wants to know.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use super::feed::Feed;
use super::report::{Level, Reporter};
use crate::fid_parser::raw::{FsId, HandleKey};
use crate::pipeline::Batch;
use crate::pipeline::probe::{Probe, Whereabouts};
use crate::sys::dirents;
use crate::sys::handle::{self, FileHandle};

/// How the handles of each filesystem are opened.
#[derive(Debug, Default)]
pub struct Doors {
    /// Mount points of each filesystem, those that show most of it first.
    pub points: HashMap<FsId, Vec<PathBuf>>,
}

/// The kernel, asked for one step. Its descriptors are closed at the end of the step: an open one
/// would keep its filesystem from being unmounted.
#[derive(Debug)]
pub struct KernelProbe<'a> {
    doors: &'a Doors,
    feed: &'a Arc<Feed>,
    reporter: &'a Reporter,
    open: HashMap<FsId, Vec<OpenDoor>>,
}

/// A mount that handles can be opened through.
#[derive(Debug)]
pub struct OpenDoor {
    /// Its root.
    pub fd: File,
    /// Its id.
    pub mount_id: i32,
}

impl<'a> KernelProbe<'a> {
    /// Makes a probe for one step.
    pub fn new(doors: &'a Doors, feed: &'a Arc<Feed>, reporter: &'a Reporter) -> Self {
        Self {
            doors,
            feed,
            reporter,
            open: HashMap::new(),
        }
    }

    fn doors(&mut self, fs: FsId) -> &[OpenDoor] {
        let Self { doors, open, .. } = self;
        open.entry(fs).or_insert_with(|| {
            let points = doors.points.get(&fs).map(Vec::as_slice).unwrap_or_default();
            points
                .iter()
                .filter_map(|point| open_door(point).ok())
                .collect()
        })
    }
}

/// Opens a mount point as a door.
pub fn open_door(point: &Path) -> io::Result<OpenDoor> {
    let fd = open_dir(point)?;
    let (_, mount_id) = handle::handle_of(Some(fd.as_fd()), c"")?;
    Ok(OpenDoor { fd, mount_id })
}

/// Opens a directory for use as the base of other calls.
pub fn open_dir(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(O_DIRECTORY)
        .open(path)
}

/// O_DIRECTORY of the generic Linux ABI.
const O_DIRECTORY: i32 = 0o200_000;

/// The key of a handle on filesystem `fs`.
pub fn key_of(fs: FsId, handle: &FileHandle) -> HandleKey {
    HandleKey::new(fs, handle.kind, &handle.bytes)
}

impl Probe for KernelProbe<'_> {
    fn place_of(&mut self, dir: &HandleKey) -> Option<Whereabouts> {
        if dir.is_folded() {
            return None;
        }
        let mut answer = None;
        for door in self.doors(dir.fs()) {
            match handle::open_handle(door.fd.as_fd(), dir.kind(), dir.bytes()) {
                Ok(fd) => match place_of_open(dir, &fd, door.mount_id) {
                    Ok(Some(place)) => return Some(place),
                    // Not below this mount; perhaps below another one of the same filesystem.
                    Ok(None) => answer = Some(Whereabouts::Outside),
                    Err(_) => {}
                },
                // ESTALE: removed. Other errors say that handles cannot be opened here.
                Err(error) if error.raw_os_error() == Some(ESTALE) => {
                    return Some(Whereabouts::Gone);
                }
                Err(_) => {}
            }
        }
        answer
    }

    fn handle_at(&mut self, like: &HandleKey, path: &[u8]) -> Option<HandleKey> {
        let path = CString::new(path).ok()?;
        let (handle, _) = handle::handle_of(None, &path).ok()?;
        Some(key_of(like.fs(), &handle))
    }

    fn size_of(&mut self, object: Option<&HandleKey>, path: &[u8]) -> Option<u64> {
        if let Some(object) = object.filter(|object| !object.is_folded())
            && let Some(door) = self.doors(object.fs()).first()
        {
            match handle::open_handle(door.fd.as_fd(), object.kind(), object.bytes()) {
                Ok(fd) => return handle::stat(fd.as_fd()).ok().map(|stat| stat.size),
                Err(error)
                    if error.raw_os_error() == Some(ESTALE) && !self.is_by_path(object.fs()) =>
                {
                    return None;
                }
                Err(_) => {}
            }
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        path.symlink_metadata().ok().map(|found| found.size())
    }

    fn is_whiteout(&mut self, object: &HandleKey) -> Option<bool> {
        let door = self.doors(object.fs()).first()?;
        let fd = handle::open_handle(door.fd.as_fd(), object.kind(), object.bytes()).ok()?;
        handle::stat(fd.as_fd()).ok().map(|stat| stat.whiteout)
    }

    fn wait_for_renames(&mut self, dir: &HandleKey) {
        if dir.is_folded() {
            return;
        }
        let Some(door) = self.doors(dir.fs()).first() else {
            return;
        };
        // Reading entries takes the lock that a rename holds until it has been told of. A directory that is gone
        // needs nobody to wait for.
        if let Ok(fd) = handle::open_directory(door.fd.as_fd(), dir.kind(), dir.bytes()) {
            dirents::read_names(fd.as_fd(), &mut [0; 512], |_| {}).ok();
        }
    }

    fn read_on(&mut self, into: &mut Vec<Batch>) {
        if let Err(error) = self.feed.drain() {
            self.reporter.say_folded(
                Level::Error,
                "drain",
                &format!("cannot read events: {error}"),
            );
        }
        self.feed.take(into);
    }
}

impl KernelProbe<'_> {
    /// Overlayfs hands out handles that it cannot open again: every one is ESTALE.
    fn is_by_path(&self, fs: FsId) -> bool {
        self.doors.points.get(&fs).is_none_or(Vec::is_empty)
    }
}

const ESTALE: i32 = 116;

/// Where an open directory is; `None` when it is the root of the mount or not below it.
fn place_of_open(dir: &HandleKey, fd: &OwnedFd, mount_id: i32) -> io::Result<Option<Whereabouts>> {
    let path = handle::path_of_fd(fd)?;
    if path.ends_with(b" (deleted)") && handle::stat(fd.as_fd())?.links == 0 {
        return Ok(Some(Whereabouts::Gone));
    }
    let (parent, parent_mount) = match handle::handle_of(Some(fd.as_fd()), c"..") {
        // The kernel does not walk up from a directory that the mount does not reach.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let parent = key_of(dir.fs(), &parent);
    // proc(5): a directory that cannot be reached from the mount reads as its root.
    if path == b"/" || parent_mount != mount_id || parent == *dir {
        return Ok((parent == *dir).then_some(Whereabouts::Top));
    }
    let name = path
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default()
        .to_vec();
    Ok(Some(Whereabouts::In { parent, name }))
}
