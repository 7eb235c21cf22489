//! The front of a log: how it can be cut off in place, and how a reader notices that it was.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::sys::falloc;
use crate::sys::statfs::{BTRFS, EXT4, XFS, room_of};

/// What a filesystem can do to make a log shorter at its front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Takes whole blocks of so many bytes out of a file; what follows moves up uncopied.
    Collapses(u64),
    /// Lets another file have the same blocks of so many bytes.
    Clones(u64),
    /// Copies.
    Plain,
}

impl Ground {
    /// The ground that an open file stands on.
    pub fn of(file: &File) -> io::Result<Self> {
        let room = room_of(file)?;
        Ok(match room.kind {
            EXT4 | XFS => Self::Collapses(room.block),
            BTRFS => Self::Clones(room.block),
            _ => Self::Plain,
        })
    }
}

/// Takes the first `length` bytes off the file in place, a multiple of the ground's block. False
/// when that cannot be done with this file after all; nothing has changed then.
pub fn cut_off(file: &File, length: u64) -> io::Result<bool> {
    falloc::collapse(file, 0, length)
}

/// The first bytes of a log that say something. A log that was cut at its front, or begun anew,
/// has others there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    at: u64,
    bytes: Vec<u8>,
}

impl Seal {
    /// Notes how the file begins.
    pub fn of(file: &File) -> io::Result<Self> {
        let mut at = 0;
        let mut block = [0; 8192];
        loop {
            let got = read_up_to(file, &mut block, at)?;
            let blank = block[..got].iter().take_while(|byte| **byte == b' ');
            let blank = blank.count();
            at += blank as u64;
            if blank < got || got == 0 {
                break;
            }
        }
        // A line's time and more: what moves here after a cut is another line.
        let mut bytes = vec![0; 512];
        let got = read_up_to(file, &mut bytes, at)?;
        bytes.truncate(got);
        Ok(Self { at, bytes })
    }

    /// Whether the file still begins so. What was read before this said yes was not moved while
    /// it was read: a kernel that cuts a file lets nobody see the new front before the end.
    pub fn holds(&self, file: &File) -> io::Result<bool> {
        let mut bytes = vec![0; self.bytes.len()];
        let got = read_up_to(file, &mut bytes, self.at)?;
        Ok(bytes[..got] == self.bytes)
    }
}

fn read_up_to(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < bytes.len() {
        match file.read_at(&mut bytes[got..], at + got as u64) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_seal_holds_while_a_log_grows_and_breaks_when_its_front_goes() {
        for blanks in [0, 3, 8191, 8192, 20_000] {
            let mut file = tempfile::tempfile().unwrap();
            let lines: String = (0..90).map(|line| format!("line {line}\n")).collect();
            let text = " ".repeat(blanks) + &lines;
            file.write_all(text.as_bytes()).unwrap();
            let seal = Seal::of(&file).unwrap();
            assert!(seal.holds(&file).unwrap());
            file.write_all(b"more\n").unwrap();
            assert!(seal.holds(&file).unwrap());
            file.write_all_at(&text.as_bytes()[7..], 0).unwrap();
            assert!(!seal.holds(&file).unwrap());
            file.set_len(3).unwrap();
            assert!(!seal.holds(&file).unwrap());
        }
    }

    #[test]
    fn an_empty_log_has_a_seal_that_always_holds() {
        let mut file = tempfile::tempfile().unwrap();
        let seal = Seal::of(&file).unwrap();
        file.write_all(b"first\n").unwrap();
        assert!(seal.holds(&file).unwrap());
        assert_ne!(Ground::of(&file).unwrap(), Ground::Collapses(0));
    }
}
