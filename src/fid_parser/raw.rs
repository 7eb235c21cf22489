//! Values that the parser yields: one record, and the key of an object.

use std::fmt;
use std::hash::{Hash, Hasher};

/// Number of a filesystem as this program counts them.
pub type FsId = u16;

/// The identity of an object: its filesystem and the handle the filesystem gave it.
///
/// Handles of local filesystems have 8 to 36 bytes; a longer one (some network filesystems) is
/// kept by its first bytes and a hash of the rest, and cannot be opened again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HandleKey {
    fs: FsId,
    kind: u8,
    len: u8,
    bytes: [u8; Self::CAPACITY],
}

impl Hash for HandleKey {
    /// The bytes in use alone: most handles have a dozen, and each event looks up several.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(u32::from(self.fs) << 16 | u32::from(self.kind) << 8 | u32::from(self.len));
        state.write(self.bytes());
    }
}

impl HandleKey {
    /// The longest handle that is kept whole.
    pub const CAPACITY: usize = 40;

    /// Makes the key of a handle on filesystem `fs`.
    pub fn new(fs: FsId, kind: i32, handle: &[u8]) -> Self {
        let mut bytes = [0; Self::CAPACITY];
        let kind = kind.to_le_bytes()[0];
        if handle.len() <= Self::CAPACITY {
            bytes[..handle.len()].copy_from_slice(handle);
            return Self {
                fs,
                kind,
                len: handle.len().to_le_bytes()[0],
                bytes,
            };
        }
        let (head, tail) = handle.split_at(Self::CAPACITY - 16);
        bytes[..head.len()].copy_from_slice(head);
        // FNV-1a, 128 bits: identity only, never decoded.
        let hash = tail.iter().fold(
            0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128,
            |hash, byte| {
                (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
            },
        );
        bytes[head.len()..].copy_from_slice(&hash.to_le_bytes());
        Self {
            fs,
            kind,
            len: u8::MAX,
            bytes,
        }
    }

    /// The filesystem.
    pub fn fs(&self) -> FsId {
        self.fs
    }

    /// The handle's type number.
    pub fn kind(&self) -> i32 {
        i32::from(self.kind)
    }

    /// The handle's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(Self::CAPACITY)]
    }

    /// Whether the handle was too long to be kept whole.
    pub fn is_folded(&self) -> bool {
        self.len == u8::MAX
    }
}

impl fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:x}:", self.fs, self.kind)?;
        self.bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A handle inside a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fid<'a> {
    /// Filesystem id, in the byte order of `statfs`.
    pub fsid: u64,
    /// The handle's type number.
    pub kind: i32,
    /// The handle's bytes.
    pub handle: &'a [u8],
}

/// A directory and a name in it; the name `.` means the directory itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The directory.
    pub dir: Fid<'a>,
    /// The name, without its NUL.
    pub name: &'a [u8],
}

/// One record of a fanotify read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawEvent<'a> {
    /// All bits of the record.
    pub mask: u64,
    /// The process, as its thread group; 0 when the kernel will not say.
    pub pid: u32,
    /// Directory and name, for everything that has one.
    pub entry: Option<Entry<'a>>,
    /// The object itself.
    pub object: Option<Fid<'a>>,
    /// Where a renamed object was.
    pub old: Option<Entry<'a>>,
    /// Where a renamed object went.
    pub new: Option<Entry<'a>>,
    /// The errno of FS_ERROR.
    pub error: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_handles_keep_their_identity() {
        let (a, mut b) = ([7_u8; 100], [7_u8; 100]);
        b[99] = 8;
        let (a, b) = (HandleKey::new(1, 2, &a), HandleKey::new(1, 2, &b));
        assert_ne!(a, b);
        assert!(a.is_folded());
        assert!(!HandleKey::new(1, 2, &[1; 36]).is_folded());
        assert_eq!(HandleKey::new(1, 0x81, &[1, 2]).bytes(), [1, 2]);
        assert_eq!(HandleKey::new(1, 0x81, &[1, 2]).kind(), 0x81);
    }
}
