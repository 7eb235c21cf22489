//! Taking a range out of a file: <https://man7.org/linux/man-pages/man2/fallocate.2.html>

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::cvt;

/// Takes `length` bytes from `offset` on out of the file; what follows moves up, without being
/// copied. Both are multiples of the filesystem's block. False when this filesystem cannot do it,
/// or not with this file: nothing has changed then.
pub fn collapse(file: &File, offset: u64, length: u64) -> io::Result<bool> {
    let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else {
        return Ok(false);
    };
    loop {
        let fd = file.as_raw_fd();
        // SAFETY: the descriptor is open as long as `file`; no memory of ours is touched.
        let ret = unsafe { libc::fallocate(fd, libc::FALLOC_FL_COLLAPSE_RANGE, offset, length) };
        match cvt(ret) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // fallocate(2): EINVAL for a range that does not fit the file's own units, EPERM for
            // an immutable or append-only file, ETXTBSY for a swap file. ext4 refuses with
            // EOPNOTSUPP when it journals data or the file has no extents.
            Err(error) => {
                return match error.raw_os_error() {
                    Some(
                        libc::EOPNOTSUPP
                        | libc::EINVAL
                        | libc::ENOSYS
                        | libc::EPERM
                        | libc::ETXTBSY,
                    ) => Ok(false),
                    _ => Err(error),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;
    use crate::sys::statfs::{BTRFS, EXT4, XFS, room_of};

    #[test]
    fn whole_blocks_go_or_nothing_does() {
        let mut file = tempfile::tempfile().unwrap();
        let room = room_of(&file).unwrap();
        let block = usize::try_from(room.block).unwrap();
        let mut bytes = vec![b'a'; block];
        bytes.resize(2 * block + 7, b'b');
        file.write_all(&bytes).unwrap();
        let gone = collapse(&file, 0, room.block).unwrap();
        assert!(gone || ![EXT4, XFS].contains(&room.kind), "{room:?}");
        assert!(!(gone && room.kind == BTRFS));
        assert!(!collapse(&file, 0, 5).unwrap());
        assert!(!collapse(&file, u64::MAX, 1).unwrap());
        let mut left = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut left).unwrap();
        assert_eq!(left, bytes[if gone { block } else { 0 }..]);
    }
}
