//! Who reads what this program prints, and passes it on: what such a process writes is caused by its output.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The processes whose standard input is what `output` leads to, through any number of pipes.
///
/// Only the standard input counts: a program that started us and reads what we print, on some other
/// descriptor, has a life of its own.
pub(super) fn viewers(output: &Path) -> Vec<u32> {
    let mut open: Vec<Pipe> = pipe_at(output).into_iter().collect();
    if open.is_empty() {
        return Vec::new();
    }
    let own = std::process::id();
    let others: Vec<(u32, PathBuf)> = processes().filter(|(pid, _)| *pid != own).collect();
    let mut found = HashSet::new();
    while let Some(pipe) = open.pop() {
        for (pid, dir) in &others {
            if pipe_at(dir.join("fd/0")) == Some(pipe) && found.insert(*pid) {
                open.extend(
                    ["fd/1", "fd/2"]
                        .iter()
                        .filter_map(|fd| pipe_at(dir.join(fd))),
                );
            }
        }
    }
    found.into_iter().collect()
}

fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    })
}

/// Device and inode of a pipe, with or without a name.
type Pipe = (u64, u64);

/// The pipe that a descriptor leads to, if it is one.
fn pipe_at(fd: impl AsRef<Path>) -> Option<Pipe> {
    let meta = fs::metadata(fd).ok()?;
    meta.file_type().is_fifo().then(|| (meta.dev(), meta.ino()))
}
