//! A manifest as a file: a header, then one object a line, in the order of their paths.
//!
//! `[shared,"rest","f",ino,size,mtime,ctime,birth]`: the path is so many bytes of the one before and the rest;
//! where the rest is not UTF-8 it stands there in hexadecimal digits, and the letter is followed by an `x`.

use std::io::{self, BufRead, Read as _, Write};

use serde::{Deserialize, Serialize};

use super::{Kind, Manifest, Object, Survey, Tree};
use crate::event::WallTime;
use crate::log::escape::{parse_hex, push_escaped, push_hex};

/// Name of the file in the log directory.
pub const FILE_NAME: &str = "manifest";
const VERSION: u32 = 1;
/// A path that the kernel takes has at most 4096 bytes, each of which takes at most six characters.
const LONGEST_LINE: u64 = 32 * 1024;
const LONGEST_HEADER: u64 = 16 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    from: i64,
    until: i64,
    told: i64,
    objects: usize,
    surveys: Vec<Survey>,
}

/// Writes a manifest.
pub fn write(manifest: &Manifest, out: &mut impl Write) -> io::Result<()> {
    let header = Header {
        version: VERSION,
        from: manifest.from.0,
        until: manifest.until.0,
        told: manifest.told.0,
        objects: manifest.tree.len(),
        surveys: manifest.surveys.clone(),
    };
    serde_json::to_writer(&mut *out, &header)?;
    out.write_all(b"\n")?;
    let (mut before, mut line): (&[u8], Vec<u8>) = (b"", Vec::new());
    for (path, object) in &manifest.tree {
        line.clear();
        push(before, path, object, &mut line);
        out.write_all(&line)?;
        before = path;
    }
    out.flush()
}

fn push(before: &[u8], path: &[u8], object: &Object, out: &mut Vec<u8>) {
    let same = before.iter().zip(path).take_while(|(one, two)| one == two);
    // Cut between names, so that no character is cut.
    let same = &path[..same.count()];
    let shared = same.iter().rposition(|byte| *byte == b'/');
    let (shared, rest) = path.split_at(shared.map_or(0, |at| at + 1));
    let is_text = str::from_utf8(rest).is_ok();
    out.extend_from_slice(format!("[{},\"", shared.len()).as_bytes());
    if is_text {
        push_escaped(rest, out);
    } else {
        push_hex(rest, out);
    }
    let letter = if object.is_closed {
        'c'
    } else {
        letter(object.kind)
    };
    let mark = if is_text { "" } else { "x" };
    let Object {
        ino,
        size,
        mtime,
        ctime,
        birth,
        ..
    } = object;
    let tail = format!("\",\"{letter}{mark}\",{ino},{size},{mtime},{ctime},{birth}]\n");
    out.extend_from_slice(tail.as_bytes());
}

/// Reads a manifest; `None` when it is not whole, of another version, or of more than `most` objects.
///
/// It lies where its owner may put anything, and is read by root.
pub fn read(mut from: impl BufRead, most: usize) -> io::Result<Option<Manifest>> {
    let mut line = Vec::new();
    read_line(&mut from, LONGEST_HEADER, &mut line)?;
    let header: Header = match serde_json::from_slice(&line) {
        Ok(header) => header,
        Err(_) => return Ok(None),
    };
    if header.version != VERSION || header.objects > most {
        return Ok(None);
    }
    let mut tree = Tree::new();
    let mut before: Vec<u8> = Vec::new();
    for _ in 0..header.objects {
        read_line(&mut from, LONGEST_LINE, &mut line)?;
        let Some((path, object)) = parse(&before, &line) else {
            return Ok(None);
        };
        before.clone_from(&path);
        tree.insert(path.into(), object);
    }
    let is_whole = tree.len() == header.objects;
    Ok(is_whole.then_some(Manifest {
        from: WallTime(header.from),
        until: WallTime(header.until),
        told: WallTime(header.told),
        surveys: header.surveys,
        tree,
    }))
}

fn read_line(from: &mut impl BufRead, longest: u64, line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    from.take(longest).read_until(b'\n', line)?;
    Ok(())
}

fn parse(before: &[u8], line: &[u8]) -> Option<(Vec<u8>, Object)> {
    type Row = (usize, String, String, u64, u64, i64, i64, i64);
    let (shared, rest, letter, ino, size, mtime, ctime, birth): Row =
        serde_json::from_slice(line).ok()?;
    let mut path = before.get(..shared)?.to_vec();
    match letter.strip_suffix('x') {
        Some(_) => path.extend(parse_hex(rest.as_bytes())?),
        None => path.extend_from_slice(rest.as_bytes()),
    }
    let kind = match letter.chars().next()? {
        'f' => Kind::File,
        'd' => Kind::Dir,
        'l' => Kind::Link,
        'o' => Kind::Other,
        'c' => return Some((path, Object::closed())),
        _ => return None,
    };
    let object = Object {
        kind,
        is_closed: false,
        ino,
        birth,
        size,
        mtime,
        ctime,
        touched: i64::MIN,
    };
    Some((path, object))
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::File => 'f',
        Kind::Dir => 'd',
        Kind::Link => 'l',
        Kind::Other | Kind::NoDir => 'o',
    }
}
