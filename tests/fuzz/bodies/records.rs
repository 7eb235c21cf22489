//! Records of a fanotify queue in the kernel's layout, written from the manual and not from the reader:
//! <https://man7.org/linux/man-pages/man7/fanotify.7.html>

use super::draw::Draw;

/// A handle, as it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    pub fsid: u64,
    pub kind: i32,
    pub bytes: Vec<u8>,
}

/// An information record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Info {
    /// `FAN_EVENT_INFO_TYPE_FID`
    Object(Handle),
    /// `FAN_EVENT_INFO_TYPE_DFID`
    Dir(Handle),
    /// `FAN_EVENT_INFO_TYPE_DFID_NAME`
    Entry(Handle, Vec<u8>),
    /// `FAN_EVENT_INFO_TYPE_OLD_DFID_NAME`
    Old(Handle, Vec<u8>),
    /// `FAN_EVENT_INFO_TYPE_NEW_DFID_NAME`
    New(Handle, Vec<u8>),
    /// `FAN_EVENT_INFO_TYPE_ERROR`
    Error(i32),
    /// One that no reader knows.
    Foreign(u8, Vec<u8>),
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub mask: u64,
    pub pid: u32,
    pub infos: Vec<Info>,
}

impl Record {
    /// The bytes of the record: `struct fanotify_event_metadata` and what belongs to it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let infos: Vec<u8> = self.infos.iter().flat_map(Info::to_bytes).collect();
        let mut bytes = Vec::new();
        bytes.extend((METADATA as u32 + infos.len() as u32).to_ne_bytes());
        bytes.extend([3, 0]);
        bytes.extend((METADATA as u16).to_ne_bytes());
        bytes.extend(self.mask.to_ne_bytes());
        bytes.extend((-1_i32).to_ne_bytes());
        bytes.extend(self.pid.to_ne_bytes());
        bytes.extend(infos);
        bytes
    }
}

impl Info {
    fn to_bytes(&self) -> Vec<u8> {
        let (kind, mut body) = match self {
            Self::Object(handle) => (1, handle.to_bytes()),
            Self::Entry(dir, name) => (2, dir.with_name(name)),
            Self::Dir(handle) => (3, handle.to_bytes()),
            Self::Error(number) => (5, [number.to_ne_bytes(), 1_i32.to_ne_bytes()].concat()),
            Self::Old(dir, name) => (10, dir.with_name(name)),
            Self::New(dir, name) => (12, dir.with_name(name)),
            Self::Foreign(kind, body) => (*kind, body.clone()),
        };
        // The kernel fills up to four bytes with zeros.
        body.resize(body.len().next_multiple_of(4), 0);
        let mut bytes = vec![kind, 0];
        bytes.extend((body.len() as u16 + 4).to_ne_bytes());
        bytes.extend(body);
        bytes
    }
}

impl Handle {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.fsid.to_ne_bytes().to_vec();
        bytes.extend((self.bytes.len() as u32).to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(&self.bytes);
        bytes
    }

    fn with_name(&self, name: &[u8]) -> Vec<u8> {
        let mut bytes = self.to_bytes();
        bytes.extend(name);
        bytes.push(0);
        bytes
    }

    /// Any handle.
    pub fn draw(draw: &mut Draw<'_>) -> Self {
        Self {
            fsid: draw.u64(),
            kind: draw.u32().cast_signed(),
            bytes: draw.bytes(128).to_vec(),
        }
    }
}

/// A name as the kernel writes it: without a NUL.
pub fn draw_name(draw: &mut Draw<'_>) -> Vec<u8> {
    let bytes = draw.bytes(255);
    bytes.iter().map(|byte| (*byte).max(1)).collect()
}

const METADATA: usize = 24;
