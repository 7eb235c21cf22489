//! The mask bits of fanotify: <https://man7.org/linux/man-pages/man2/fanotify_mark.2.html>

use crate::event::{EventType, TypeSet};

/// A directory entry was renamed; carries both sides (5.17).
pub const RENAME: u64 = 0x1000_0000;
/// The object is a directory.
pub const ONDIR: u64 = libc::FAN_ONDIR;
/// With an inode mark: also what happens to the children.
pub const ON_CHILD: u64 = libc::FAN_EVENT_ON_CHILD;
/// Events were lost in the kernel.
pub const OVERFLOW: u64 = libc::FAN_Q_OVERFLOW;
/// An entry was made.
pub const CREATE: u64 = libc::FAN_CREATE;
/// An entry was taken away.
pub const DELETE: u64 = libc::FAN_DELETE;
/// The last name and the last user of an object went.
pub const DELETE_SELF: u64 = libc::FAN_DELETE_SELF;
/// The old side of a rename.
pub const MOVED_FROM: u64 = libc::FAN_MOVED_FROM;
/// The new side of a rename.
pub const MOVED_TO: u64 = libc::FAN_MOVED_TO;
/// The object itself was moved.
pub const MOVE_SELF: u64 = libc::FAN_MOVE_SELF;
/// Metadata changed, link counts included.
pub const ATTRIB: u64 = libc::FAN_ATTRIB;
/// A descriptor open for writing was closed.
pub const CLOSE_WRITE: u64 = libc::FAN_CLOSE_WRITE;
/// Reading and writing.
pub const USE: u64 = libc::FAN_ACCESS | libc::FAN_MODIFY;
/// A file was opened to be executed.
pub const OPEN_EXEC: u64 = libc::FAN_OPEN_EXEC;
/// The filesystem met an error.
pub const FS_ERROR: u64 = 0x8000;

/// The kernel's bit for an event type.
pub fn bit_of(kind: EventType) -> u64 {
    match kind {
        EventType::Access => libc::FAN_ACCESS,
        EventType::Modify => libc::FAN_MODIFY,
        EventType::CloseWrite => CLOSE_WRITE,
        EventType::CloseNowrite => libc::FAN_CLOSE_NOWRITE,
        EventType::Open => libc::FAN_OPEN,
        EventType::OpenExec => OPEN_EXEC,
        EventType::Attrib => ATTRIB,
        EventType::Create => CREATE,
        EventType::Delete => DELETE,
        EventType::DeleteSelf => DELETE_SELF,
        EventType::MovedFrom => MOVED_FROM,
        EventType::MovedTo => MOVED_TO,
        EventType::MoveSelf => MOVE_SELF,
        EventType::FsError => FS_ERROR,
    }
}

/// The kernel's bits for a set of types.
pub fn mask_of(types: TypeSet) -> u64 {
    types.iter().fold(0, |mask, kind| mask | bit_of(kind))
}

/// The order in which the merged bits of one name and one object can have happened: born, used, gone.
///
/// DELETE_SELF stands before DELETE because the kernel queues it first when the last name of a closed file goes.
pub const POSSIBLE_ORDER: [EventType; 14] = [
    EventType::Create,
    EventType::MovedTo,
    EventType::MoveSelf,
    EventType::Open,
    EventType::OpenExec,
    EventType::Access,
    EventType::Modify,
    EventType::Attrib,
    EventType::CloseNowrite,
    EventType::CloseWrite,
    EventType::FsError,
    EventType::MovedFrom,
    EventType::DeleteSelf,
    EventType::Delete,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_place_and_its_own_bit() {
        let mut seen = 0;
        for kind in EventType::ALL {
            assert!(POSSIBLE_ORDER.contains(&kind));
            assert_eq!(seen & bit_of(kind), 0);
            seen |= bit_of(kind);
        }
        assert_eq!(mask_of(TypeSet::ALL), seen);
    }
}
