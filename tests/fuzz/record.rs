//! Records what the kernel of this machine says while a few commands run, as seeds for `fanotify`, `ring` and
//! `netlink`. Needs root, and a directory on a filesystem on which nothing else happens.
//!
//! ```sh
//! cargo run --manifest-path tests/fuzz/Cargo.toml --example record -- /mnt/x tests/data/fuzz ext4
//! ```

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use fsmon::event::TypeSet;
use fsmon::fid_parser::bits;
use fsmon::sys::fanotify::{Group, MarkOn, Reporting};
use fsmon::sys::perf::Ring;
use proc_connector::ProcConnector;

/// What happens, in the directory.
const DEEDS: &str = "mkdir a a/b; echo x > a/b/f; mv a/b/f a/g; ln a/g a/h; ln -s g a/s; chmod 600 a/g; \
                     mv a c; cat c/g > /dev/null; touch \"$(printf 'c/n\\n\\377')\"; rm -r c";

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [dir, data, name] = &words[..] else {
        return Err(io::Error::other("record DIR DATA NAME"));
    };
    let data = Path::new(data);
    let group = Group::open(Reporting { target_fid: true })?;
    let mask = bits::mask_of(TypeSet::ALL) | bits::ONDIR | bits::RENAME;
    group.add_mark(MarkOn::Filesystem, mask, File::open(dir)?.as_fd())?;
    let cpus = std::thread::available_parallelism()?.get() as u32;
    let rings: io::Result<Vec<_>> = (0..cpus).map(|cpu| Ring::open(cpu, 1 << 16)).collect();
    let connector = ProcConnector::new().map_err(io::Error::other)?;
    connector.set_nonblocking().map_err(io::Error::other)?;

    let run = Command::new("sh")
        .args(["-c", DEEDS])
        .current_dir(dir)
        .status()?;
    if !run.success() {
        return Err(io::Error::other("the deeds failed"));
    }

    let mut queue = Vec::new();
    let mut room = vec![0; 1 << 16];
    while let Some(count) = group.read(&mut room)? {
        queue.extend(&room[..count]);
    }
    keep(data, "fanotify", name, &queue)?;

    let mut records = Vec::new();
    for mut ring in rings?.into_iter().flatten() {
        ring.drain(|raw| {
            records.extend(raw.kind.to_ne_bytes());
            records.extend(raw.misc.to_ne_bytes());
            records.extend((raw.body.len() as u16 + 8).to_ne_bytes());
            records.extend(raw.body);
        });
    }
    records.truncate(4096);
    // As the body draws them: a ring of 4096 bytes, nothing read yet, all of it written.
    let mut ring = 9_u16.to_le_bytes().to_vec();
    ring.extend(0_u64.to_le_bytes());
    ring.extend((records.len() as u32).to_le_bytes());
    ring.extend(records);
    keep(data, "ring", name, &ring)?;

    let mut datagrams = Vec::new();
    while let Ok(count) = connector.recv_raw(&mut room) {
        datagrams.extend(&room[..count]);
    }
    datagrams.truncate(76 * 40);
    keep(data, "netlink", name, &datagrams)
}

fn keep(data: &Path, edge: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(data.join(edge))?;
    fs::write(data.join(edge).join(name), bytes)
}
