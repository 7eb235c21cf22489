//! What ties the lines of the journal together: a running number, and the SHA-256 of the line before.
//!
//! `..,"number":17,"prev":"<64 hex digits>"}` ends each line. A line that is changed afterwards no longer has the
//! hash that its successor names; a line that is taken out leaves a number out. Whoever may write the journal may
//! also write it anew from some line on, with new hashes: only a hash that was kept elsewhere shows that.

use std::fs::File;
use std::io;
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::dir::LogDir;
use super::escape::{parse_hex, push_hex, push_number};
use super::journal::FILE_NAME;
use super::source;
use super::written::{Written, read_entry};
use crate::event::WallTime;

/// The SHA-256 of a line without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash([u8; 32]);

/// A line of the journal, as the next one refers to it. Written as `17:<64 hex digits>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its running number, 1 for the first.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Hash {
    /// The hash of `line`, with or without its newline.
    pub fn of(line: &[u8]) -> Self {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        Self(Sha256::digest(line).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text.as_bytes())?.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for Link {
    type Err = NoLink;

    fn from_str(text: &str) -> Result<Self, NoLink> {
        let (number, hash) = text.split_once(':').ok_or(NoLink)?;
        let number = number.parse().ok().filter(|number| *number > 0);
        Ok(Self {
            number: number.ok_or(NoLink)?,
            hash: Hash::parse(hash).ok_or(NoLink)?,
        })
    }
}

/// What was read names no line of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLink;

impl std::fmt::Display for NoLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a line of the journal is NUMBER:HASH, as `fsmon verify` prints it")
    }
}

impl std::error::Error for NoLink {}

/// Puts number and hash into `line`, which ends with `}` and a newline and follows `last`; returns the line's own link.
pub fn seal(last: Option<Link>, line: &mut Vec<u8>) -> Link {
    line.truncate(line.len() - b"}\n".len());
    let number = last.map_or(1, |last| last.number + 1);
    line.extend_from_slice(b",\"number\":");
    push_number(number, line);
    line.extend_from_slice(b",\"prev\":\"");
    if let Some(last) = last {
        push_hex(&last.hash.0, line);
    }
    line.extend_from_slice(b"\"}\n");
    Link {
        number,
        hash: Hash::of(line),
    }
}

/// The last line of the journal in `dir` that has a number, to go on behind it and to learn how the run before
/// ended; `None` when there is no journal or no such line in it.
pub fn last_link(dir: &Path) -> io::Result<Option<(Written, Link)>> {
    let dir = match LogDir::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let Some(file) = dir.open_log(FILE_NAME)? else {
        return Ok(None);
    };
    last_in(&file)
}

/// Since when lines wait for a disk, or did when the run ended that the journal in `dir` tells of last.
pub fn held_since(dir: &Path) -> io::Result<Option<WallTime>> {
    let Some(file) = LogDir::open(dir)?.open_log(FILE_NAME)? else {
        return Ok(None);
    };
    let end = file.metadata()?.len();
    let tells = |line: &[u8]| {
        let entry = read_entry(line)?;
        let is_about_it = matches!(&*entry.event, "START" | "STOP" | "HELD" | "WRITTEN");
        is_about_it.then_some(entry)
    };
    let last = source::find_last(&file, end, tells)?;
    let held = last.filter(|entry| entry.event == "HELD");
    Ok(held.and_then(|entry| entry.since))
}

fn last_in(file: &File) -> io::Result<Option<(Written, Link)>> {
    let end = file.metadata()?.len();
    // A line of which only the newline is missing will be ended, and then it is the last one.
    let torn = source::torn_tail(file, end)?;
    match torn.and_then(|torn| link_of(&torn)) {
        Some(last) => Ok(Some(last)),
        None => source::find_last(file, end, link_of),
    }
}

fn link_of(line: &[u8]) -> Option<(Written, Link)> {
    let written = read_entry(line)?;
    let link = Link {
        number: written.number?,
        hash: Hash::of(line),
    };
    Some((written, link))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::journal::{Entry, encode_entry};
    use super::*;
    use crate::event::WallTime;

    fn journal(reasons: &[&str]) -> (Vec<u8>, Option<Link>) {
        let (mut bytes, mut last) = (Vec::new(), None);
        for (at, reason) in reasons.iter().enumerate() {
            let mut line = Vec::new();
            let entry = Entry::Stop { reason, logs: &[] };
            encode_entry(WallTime(at as i64), &entry, &mut line);
            last = Some(seal(last, &mut line));
            bytes.extend_from_slice(&line);
        }
        (bytes, last)
    }

    #[test]
    fn each_line_names_the_hash_of_the_one_before() {
        let (bytes, _) = journal(&["a", "b", "c"]);
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let entries: Vec<Written> = lines.iter().map(|line| read_entry(line).unwrap()).collect();
        assert_eq!(entries[0].number, Some(1));
        assert_eq!(entries[0].prev.as_deref(), Some(""));
        for at in 1..3 {
            assert_eq!(entries[at].number, Some(at as u64 + 1));
            let named = entries[at].prev.as_deref().and_then(Hash::parse);
            assert_eq!(named, Some(Hash::of(lines[at - 1])));
        }
    }

    #[test]
    fn the_hash_is_the_one_that_sha256sum_prints() {
        assert_eq!(
            Hash::of(b"abc\n").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_link_reads_back_and_nothing_else_does() {
        let (_, last) = journal(&["a", "b"]);
        let last = last.unwrap();
        assert_eq!(last.to_string().parse(), Ok(last));
        for wrong in ["", "2", "2:", ":ab", "0:", "2:abcd", "-1:00", "x:00"] {
            assert!(wrong.parse::<Link>().is_err(), "{wrong}");
        }
        assert!(format!("0:{}", last.hash).parse::<Link>().is_err());
    }

    #[test]
    fn the_last_whole_line_is_the_one_to_go_on_from() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(last_link(&place.path().join("none")).unwrap(), None);
        assert_eq!(last_link(place.path()).unwrap(), None);
        let (bytes, last) = journal(&["a", "b", "c"]);
        let write = |bytes: &[u8]| fs::write(place.path().join(FILE_NAME), bytes).unwrap();
        let found = || last_link(place.path()).unwrap().map(|(_, link)| link);
        write(&bytes);
        assert_eq!(found(), last);
        write(&bytes[..bytes.len() - 1]);
        assert_eq!(found(), last, "only the newline is missing");
        write(&bytes[..bytes.len() - 5]);
        assert_eq!(found().map(|link| link.number), Some(2));
        write(&[&bytes[..], b"somebody was here\n"].concat());
        assert_eq!(found(), last);
    }
}
