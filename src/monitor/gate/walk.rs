//! Puts marks where a protected file can be, and nowhere else.
//!
//! A directory in which one can be gets a mark for its children: files that come later, and those that
//! replace others, are looked at from their first open on. A protected file that is there gets a mark of
//! its own as well, which is met by whichever name it is opened.

use std::ffi::{CString, OsStr};
use std::fs::{self, DirEntry, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::places::{Inode, Places};
use super::rules::Rules;
use super::{Gate, Guarded, Guarding, Trouble, locked};
use crate::sys::dirfd::open_without_links;
use crate::sys::gatekeeper::{Gatekeeper, ON_CHILD, OPEN_PERM, Reach};
use crate::sys::handle::handle_of;
use crate::sys::statfs::room_of;

impl Gate {
    /// Puts these rules into force instead of those before: new marks first, then the rules, then what is
    /// left over goes. The pump has to run.
    pub fn guard(&self, wanted: Vec<Guarded>) -> io::Result<Guarding> {
        let marking = locked(&self.marking);
        let mut guarding = Guarding::default();
        let rules = Arc::new(Rules::new(wanted, &mut guarding.unknown_users));
        let places = Mutex::default();
        for base in rules.bases() {
            self.walk(&rules, &places, &base, &mut guarding.troubles)?;
        }
        let mut places = places.into_inner().unwrap_or_else(PoisonError::into_inner);
        guarding.directories = places.directories();
        guarding.files = places.files();
        let left_out = {
            let mut now = locked(&self.places);
            places.take_over(&mut now, |name| !rules.that_mean(name).is_empty());
            let left_out = now.left_out(&places);
            *now = places;
            left_out
        };
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        for (path, inode) in left_out {
            // What is no longer there has no mark any more, or loses it when it is met.
            self.unmark(&path, inode).ok();
        }
        drop(marking);
        Ok(guarding)
    }

    /// A directory was made, or moved here with all that it holds.
    pub fn directory_appeared(&self, path: &[u8]) -> io::Result<Guarding> {
        let rules = self.rules();
        let mut guarding = Guarding::default();
        if !rules.can_be_below(path) {
            return Ok(guarding);
        }
        let marking = locked(&self.marking);
        self.walk(&rules, &self.places, path, &mut guarding.troubles)?;
        drop(marking);
        let places = locked(&self.places);
        guarding.directories = places.directories();
        guarding.files = places.files();
        Ok(guarding)
    }

    /// A file was made, moved or linked here, or has replaced another.
    pub fn file_appeared(&self, path: &[u8]) -> io::Result<()> {
        let rules = self.rules();
        if rules.that_mean(path).is_empty() {
            return Ok(());
        }
        let (above, name) = split(path);
        let marking = locked(&self.marking);
        let found = open_without_links(above)
            .and_then(|dir| mark_file(&*self.group()?, &dir, name, path, &self.places));
        drop(marking);
        match found {
            // It is gone again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// A file or directory was removed or moved away.
    pub fn gone(&self, path: &[u8]) {
        let mut places = locked(&self.places);
        places.gone(path);
        if places.wants_sweep()
            && let Ok(group) = self.group()
            && let Ok(marked) = group.marked_inodes()
        {
            places.sweep(&marked);
        }
    }

    /// Takes the mark off what is at `path`, if it still is the same.
    pub(super) fn unmark(&self, path: &[u8], inode: Inode) -> io::Result<()> {
        let group = self.group()?;
        let (above, name) = split(path);
        let dir = open_without_links(if name.is_empty() { path } else { above })?;
        let name = CString::new(if name.is_empty() { b"." } else { name })?;
        let there = fs::symlink_metadata(entry(&dir, name.as_bytes()))?;
        if (there.dev(), there.ino()) == inode {
            let mask = mask_for(there.is_dir());
            group.remove_mark(Reach::Inode, mask, dir.as_fd(), &name)?;
        }
        Ok(())
    }

    fn walk(
        &self,
        rules: &Rules,
        places: &Mutex<Places>,
        from: &[u8],
        troubles: &mut Vec<Trouble>,
    ) -> io::Result<()> {
        let mut left = vec![(from.to_vec(), None)];
        while let Some((path, above)) = left.pop() {
            let group = self.group()?;
            let visited = visit(&group, rules, places, &path, above, &mut left, troubles);
            note(visited, path, troubles);
        }
        Ok(())
    }
}

/// Marks a directory and the files in it, and puts those of its directories that matter on the list, each
/// with the device that it is expected on.
fn visit(
    group: &Gatekeeper,
    rules: &Rules,
    places: &Mutex<Places>,
    path: &[u8],
    above: Option<u64>,
    left: &mut Vec<(Vec<u8>, Option<u64>)>,
    troubles: &mut Vec<Trouble>,
) -> io::Result<()> {
    let dir = open_without_links(path)?;
    let there = dir.metadata()?;
    if above.is_none_or(|dev| dev != there.dev()) {
        let kind = room_of(&dir)?.kind;
        let is_foreign = FAR.contains(&kind) && !rules.lead_to(path);
        if KERNELS_OWN.contains(&kind) || is_foreign {
            return Ok(());
        }
    }
    let can_be_in = rules.can_be_in(path);
    if can_be_in {
        // First known, then marked: the mark of a directory that nobody knows is taken off.
        locked(places).put_dir((there.dev(), there.ino()), path.to_vec());
        group.add_mark(Reach::Inode, mask_for(true), dir.as_fd(), c".")?;
    }
    for entry in fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd()))? {
        let entry = entry?;
        let child = below(path, &entry.file_name());
        let looked = look(&entry).and_then(|kind| match kind {
            Kind::Directory if rules.can_be_below(&child) => {
                left.push((child.clone(), Some(there.dev())));
                Ok(())
            }
            Kind::File if can_be_in && !rules.that_mean(&child).is_empty() => {
                let name = entry.file_name();
                mark_file(group, &dir, name.as_bytes(), &child, places)
            }
            _ => Ok(()),
        });
        note(looked, child, troubles);
    }
    Ok(())
}

enum Kind {
    Directory,
    File,
    Link,
}

fn look(entry: &DirEntry) -> io::Result<Kind> {
    let kind = entry.file_type()?;
    Ok(if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Link
    } else {
        Kind::File
    })
}

/// Marks one file. What a symbolic link leads to is protected by its own path, or not at all.
fn mark_file(
    group: &Gatekeeper,
    dir: &File,
    name: &[u8],
    path: &[u8],
    places: &Mutex<Places>,
) -> io::Result<()> {
    let there = fs::symlink_metadata(entry(dir, name))?;
    if there.is_symlink() || there.is_dir() {
        return Ok(());
    }
    let c_name = CString::new(name)?;
    // Without a handle the number alone has to do.
    let handle = handle_of(Some(dir.as_fd()), &c_name).ok();
    let handle = handle.map(|(handle, _)| handle);
    locked(places).put_file((there.dev(), there.ino()), handle, path.to_vec());
    group.add_mark(Reach::Inode, mask_for(false), dir.as_fd(), &c_name)
}

fn mask_for(is_dir: bool) -> u64 {
    if is_dir {
        OPEN_PERM | ON_CHILD
    } else {
        OPEN_PERM
    }
}

/// Keeps what went wrong; what is gone meanwhile, or not there yet, is nothing wrong.
fn note(done: io::Result<()>, path: Vec<u8>, troubles: &mut Vec<Trouble>) {
    if let Err(error) = done
        && !matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
        && troubles.len() < MOST_TROUBLES
    {
        troubles.push(Trouble { path, error });
    }
}

/// An entry of an open directory, whatever is done to the names above it.
fn entry(dir: &File, name: &[u8]) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(OsStr::from_bytes(name))
}

fn below(dir: &[u8], name: &OsStr) -> Vec<u8> {
    let dir = PathBuf::from(OsStr::from_bytes(dir)).join(name);
    dir.into_os_string().into_vec()
}

/// The directory that an absolute path is in, and the name there; the name is empty for the root.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) => (b"/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"/", path),
    }
}

/// Troubles beyond these are left out.
const MOST_TROUBLES: usize = 100;

/// statfs(2): proc, sysfs, cgroup2, cgroup, devpts, debugfs, tracefs, securityfs, selinuxfs, bpf, pstore,
/// efivarfs, configfs, nsfs, binfmt_misc, mqueue, autofs. There is nothing to protect, or no mark is taken,
/// or a look has effects.
const KERNELS_OWN: [u64; 17] = [
    0x9fa0,
    0x6265_6572,
    0x6367_7270,
    0x0027_e0eb,
    0x1cd1,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xf97c_ff8c,
    0xcafe_4a11,
    0x6165_676c,
    0xde5e_81e4,
    0x6265_6570,
    0x6e73_6673,
    0x4249_4e4d,
    0x1980_0202,
    0x0187,
];

/// NFS, SMB (three numbers), FUSE, Ceph, 9p, AFS: a walk could wait for another machine, so it goes there only
/// when a pattern leads there.
const FAR: [u64; 8] = [
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x517b,
    0x6573_5546,
    0x00c3_6400,
    0x0102_1997,
    0x5346_414f,
];
