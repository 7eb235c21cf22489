//! Walks a watched tree: on the filesystem of its root, links not followed, up to a number of objects.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::{Kind, Object, Place, Tree};
use crate::filters::scope::{Scope, trim_slashes};
use crate::sys::statx::{self, Look};
use crate::sys::{dirents, dirfd, statfs};

/// What became of a walk.
#[derive(Debug)]
pub enum Walked {
    /// All of it is in the tree.
    Whole {
        /// The filesystem.
        fsid: u64,
        /// The first place that could not be looked at, if there was one.
        closed: Option<(PathBuf, io::Error)>,
    },
    /// There is more than may be kept; nothing of it is in the tree.
    TooMuch,
}

/// Puts what lies in `place` into `tree`, unless that are more than `most` objects. The directory `skip`
/// (device and inode) is left out.
pub fn walk(
    place: &Place,
    most: usize,
    skip: Option<(u64, u64)>,
    tree: &mut Tree,
) -> io::Result<Walked> {
    let scope = place.scope().map_err(io::Error::other)?;
    let root = Path::new(&place.root);
    let Some((real, look)) = root_of(root)? else {
        let fsid = filesystem_above(root)?;
        return Ok(Walked::Whole { fsid, closed: None });
    };
    let mut walk = Walk {
        scope,
        dev: look.dev,
        most,
        skip,
        tree: Tree::new(),
        left: Vec::new(),
        closed: None,
        buffer: vec![0; BUFFER],
    };
    let fsid = if look.kind == statx::DIRECTORY {
        statfs::fsid_of(dirfd::open_to_list(real.as_os_str().as_bytes())?.as_fd())?
    } else {
        filesystem_above(root)?
    };
    walk.take(place.root.as_bytes().to_vec(), &look);
    let real = trim_slashes(real.as_os_str().as_bytes()).to_vec();
    while let Some((path, ino)) = walk.left.pop() {
        let rest = walk.scope.relative(&path).unwrap_or_default();
        let at = if rest.is_empty() {
            real.clone()
        } else {
            [&real, &b"/"[..], rest].concat()
        };
        if let Err(error) = walk.read(&path, &at, ino) {
            walk.close(path, error);
        }
        if walk.tree.len() > most {
            return Ok(Walked::TooMuch);
        }
    }
    tree.append(&mut walk.tree);
    let closed = walk.closed;
    Ok(Walked::Whole { fsid, closed })
}

struct Walk {
    scope: Scope,
    dev: u64,
    most: usize,
    skip: Option<(u64, u64)>,
    tree: Tree,
    /// Directories that are still to be read, with their inodes.
    left: Vec<(Vec<u8>, u64)>,
    /// The first place that could not be looked at.
    closed: Option<(PathBuf, io::Error)>,
    buffer: Vec<u8>,
}

impl Walk {
    fn take(&mut self, path: Vec<u8>, look: &Look) {
        let is_dir = look.kind == statx::DIRECTORY;
        if self.skip == Some((look.dev, look.ino)) || !self.scope.covers(&path, is_dir) {
            return;
        }
        // Only of directories: an overlay gives its files the devices of their layers.
        if is_dir && look.dev != self.dev {
            self.tree.insert(path.into(), Object::closed());
            return;
        }
        if is_dir && self.scope.descends_into(&path) {
            self.left.push((path.clone(), look.ino));
        }
        self.tree.insert(path.into(), object(look));
    }

    fn read(&mut self, path: &[u8], at: &[u8], ino: u64) -> io::Result<()> {
        let dir = dirfd::open_to_list(if at.is_empty() { b"/" } else { at })?;
        let look = statx::look(dir.as_fd(), c"")?;
        if (look.dev, look.ino) != (self.dev, ino) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut names: Vec<CString> = Vec::new();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut more = Ok(true);
        while matches!(more, Ok(true)) && names.len() <= self.most {
            more = dirents::read_names(dir.as_fd(), &mut buffer, |name| names.push(name.into()));
        }
        self.buffer = buffer;
        more?;
        for name in names {
            let path = [trim_slashes(path), b"/", name.to_bytes()].concat();
            match statx::look(dir.as_fd(), &name) {
                Ok(look) => self.take(path, &look),
                Err(error) if self.scope.covers(&path, false) => self.close(path, error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Nothing can be said of what could not be looked at. What has gone in between is no concern.
    fn close(&mut self, path: Vec<u8>, error: io::Error) {
        let is_gone = error.kind() == io::ErrorKind::NotFound;
        match self.tree.get_mut(&path[..]) {
            Some(object) => object.is_closed = true,
            None if is_gone => return,
            None => {
                self.tree.insert(path.as_slice().into(), Object::closed());
            }
        }
        if !is_gone && self.closed.is_none() {
            let path = PathBuf::from(OsString::from_vec(path));
            self.closed = Some((path, error));
        }
    }
}

fn object(look: &Look) -> Object {
    Object {
        kind: match look.kind {
            statx::REGULAR => Kind::File,
            statx::DIRECTORY => Kind::Dir,
            statx::LINK => Kind::Link,
            _ => Kind::Other,
        },
        is_closed: false,
        ino: look.ino,
        birth: look.birth,
        size: look.size,
        mtime: look.mtime,
        ctime: look.ctime,
        touched: i64::MIN,
    }
}

/// Where the root is when links on the way to it are followed, and what it is; `None` when it is not there.
fn root_of(root: &Path) -> io::Result<Option<(PathBuf, Look)>> {
    let (Some(parent), Some(name)) = (root.parent(), root.file_name()) else {
        let top = File::open("/")?;
        return Ok(Some(("/".into(), statx::look(top.as_fd(), c"")?)));
    };
    let found = fs::canonicalize(parent).and_then(|parent| {
        let dir = dirfd::open_to_list(parent.as_os_str().as_bytes())?;
        let look = statx::look(dir.as_fd(), &CString::new(name.as_bytes())?)?;
        Ok((parent.join(name), look))
    });
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The filesystem of the nearest directory above a path that is there.
fn filesystem_above(path: &Path) -> io::Result<u64> {
    let mut dirs = path.ancestors().skip(1);
    let dir = dirs
        .find(|dir| dir.is_dir())
        .unwrap_or_else(|| Path::new("/"));
    statfs::fsid_of(File::open(dir)?.as_fd())
}

const BUFFER: usize = 32 * 1024;
