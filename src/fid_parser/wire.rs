//! Reads the records of a buffer: <https://man7.org/linux/man-pages/man7/fanotify.7.html>
//!
//! Everything is a checked slice read; a length that does not fit ends the walk with
//! [`Malformed`], an information record of an unknown type is passed over.

use super::raw::{Entry, Fid, RawEvent};

/// A buffer that does not hold what the kernel promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where in the buffer.
    pub offset: usize,
}

/// Walks the records of one read.
pub fn records(buffer: &[u8]) -> Records<'_> {
    Records { buffer, offset: 0 }
}

/// The masks of the records of one read.
pub fn masks(buffer: &[u8]) -> impl Iterator<Item = u64> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let mask = u64::from_ne_bytes(rest.get(8..16)?.try_into().ok()?);
        rest = rest.get(len.max(METADATA_LEN)..)?;
        Some(mask)
    })
}

/// Iterator over the records of a buffer; ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    buffer: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RawEvent<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self
            .buffer
            .get(self.offset..)
            .filter(|rest| !rest.is_empty())?;
        let Some((event, len)) = record(rest) else {
            let offset = self.offset;
            self.offset = self.buffer.len();
            return Some(Err(Malformed { offset }));
        };
        self.offset += len;
        Some(Ok(event))
    }
}

/// `struct fanotify_event_metadata`: len u32, vers u8, reserved u8, metadata_len u16, mask u64, fd i32, pid i32.
const METADATA_LEN: usize = 24;
/// FANOTIFY_METADATA_VERSION.
const VERSION: u8 = 3;

fn record(rest: &[u8]) -> Option<(RawEvent<'_>, usize)> {
    let len = u32_at(rest, 0)? as usize;
    let head_len = usize::from(u16::from_ne_bytes(rest.get(6..8)?.try_into().ok()?));
    if len < head_len || head_len < METADATA_LEN || *rest.get(4)? != VERSION {
        return None;
    }
    let whole = rest.get(..len)?;
    let mask = u64::from_ne_bytes(whole.get(8..16)?.try_into().ok()?);
    let pid = u32_at(whole, 20)?.cast_signed().max(0).cast_unsigned();
    let mut event = RawEvent {
        mask,
        pid,
        ..RawEvent::default()
    };
    let mut infos = &whole[head_len..];
    while infos.len() >= INFO_HEADER {
        let info_len = usize::from(u16::from_ne_bytes([infos[2], infos[3]]));
        if info_len < INFO_HEADER || info_len > infos.len() {
            return None;
        }
        let (info, after) = infos.split_at(info_len);
        take_info(&mut event, info[0], &info[INFO_HEADER..])?;
        infos = after;
    }
    Some((event, len))
}

/// `struct fanotify_event_info_header`: type u8, pad u8, len u16.
const INFO_HEADER: usize = 4;
const INFO_FID: u8 = 1;
const INFO_DFID_NAME: u8 = 2;
const INFO_DFID: u8 = 3;
const INFO_ERROR: u8 = 5;
const INFO_OLD_DFID_NAME: u8 = 10;
const INFO_NEW_DFID_NAME: u8 = 12;

fn take_info<'a>(event: &mut RawEvent<'a>, kind: u8, body: &'a [u8]) -> Option<()> {
    match kind {
        INFO_FID => event.object = Some(fid(body)?.0),
        INFO_DFID_NAME => event.entry = Some(entry(body)?),
        INFO_DFID => {
            event.entry = Some(Entry {
                dir: fid(body)?.0,
                name: b".",
            })
        }
        INFO_OLD_DFID_NAME => event.old = Some(entry(body)?),
        INFO_NEW_DFID_NAME => event.new = Some(entry(body)?),
        INFO_ERROR => event.error = Some(u32_at(body, 0)?.cast_signed()),
        _ => {}
    }
    Some(())
}

/// fsid (two u32), handle_bytes u32, handle_type i32, the handle; then whatever follows it.
fn fid(body: &[u8]) -> Option<(Fid<'_>, &[u8])> {
    let fsid = u64::from_ne_bytes(body.get(..8)?.try_into().ok()?);
    let len = u32_at(body, 8)? as usize;
    let kind = u32_at(body, 12)?.cast_signed();
    let rest = body.get(16..)?;
    let handle = rest.get(..len)?;
    Some((Fid { fsid, kind, handle }, &rest[len..]))
}

fn entry(body: &[u8]) -> Option<Entry<'_>> {
    let (dir, rest) = fid(body)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(Entry {
        dir,
        name: &rest[..end],
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Builds buffers in the kernel's layout, for tests of everything that reads them.
#[cfg(test)]
pub(crate) mod build {
    use super::*;

    pub(crate) fn info_fid(kind: u8, fsid: u64, handle: &[u8], name: Option<&[u8]>) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(fsid.to_ne_bytes());
        body.extend((handle.len() as u32).to_ne_bytes());
        body.extend(1_i32.to_ne_bytes());
        body.extend(handle);
        if let Some(name) = name {
            body.extend(name);
            body.push(0);
        }
        while body.len() % 4 != 0 {
            body.push(0);
        }
        let mut info = vec![kind, 0];
        info.extend(((body.len() + INFO_HEADER) as u16).to_ne_bytes());
        info.extend(body);
        info
    }

    pub(crate) fn event(mask: u64, pid: u32, infos: &[Vec<u8>]) -> Vec<u8> {
        let len = METADATA_LEN + infos.iter().map(Vec::len).sum::<usize>();
        let mut out = Vec::new();
        out.extend((len as u32).to_ne_bytes());
        out.extend([VERSION, 0]);
        out.extend((METADATA_LEN as u16).to_ne_bytes());
        out.extend(mask.to_ne_bytes());
        out.extend((-1_i32).to_ne_bytes());
        out.extend(pid.to_ne_bytes());
        infos.iter().for_each(|info| out.extend(info));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::build::{event, info_fid};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_create_with_directory_name_and_child() {
        let bytes = event(
            0x100,
            7,
            &[
                info_fid(2, 9, b"dirdirdi", Some(b"name")),
                info_fid(1, 9, b"child", None),
            ],
        );
        let parsed: Vec<_> = records(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(parsed.len(), 1);
        let entry = parsed[0].entry.unwrap();
        assert_eq!(
            (entry.name, entry.dir.handle),
            (&b"name"[..], &b"dirdirdi"[..])
        );
        assert_eq!(parsed[0].object.unwrap().handle, b"child");
        assert_eq!(parsed[0].pid, 7);
    }

    #[test]
    fn unknown_information_is_passed_over_and_overflow_has_none() {
        let mut two = event(0x4000, 0, &[]);
        two.extend(event(
            0x2,
            1,
            &[vec![99, 0, 8, 0, 1, 2, 3, 4], info_fid(1, 1, b"x", None)],
        ));
        let parsed: Vec<_> = records(&two).collect::<Result<_, _>>().unwrap();
        assert_eq!(parsed[0].mask, 0x4000);
        assert_eq!(parsed[1].object.unwrap().handle, b"x");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_loop(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(records(&bytes).count() <= bytes.len());
        }

        #[test]
        fn a_damaged_record_is_an_error_not_a_panic(at in 0_usize..80, value: u8) {
            let mut bytes = event(0x100, 7, &[info_fid(2, 9, b"dirdirdi", Some(b"name")), info_fid(1, 9, b"child", None)]);
            let at = at % bytes.len();
            bytes[at] = value;
            records(&bytes).for_each(drop);
        }
    }
}
