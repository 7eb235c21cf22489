//! Starting and ending processes: <https://man7.org/linux/man-pages/man2/clone.2.html>,
//! <https://man7.org/linux/man-pages/man2/kill.2.html>

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use super::cvt;

/// Kills every process of the group that `leader` founded; an error when there is none.
pub fn kill_group(leader: u32) -> io::Result<()> {
    signal_group(leader, libc::SIGKILL)
}

/// Whether there is still a process of the group that `leader` founded.
pub fn has_group(leader: u32) -> bool {
    signal_group(leader, 0).is_ok()
}

fn signal_group(leader: u32, signal: i32) -> io::Result<()> {
    let Ok(leader @ 2..) = i32::try_from(leader) else {
        // 0 and 1 would mean our own group, and everybody.
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: takes two numbers and touches no memory of ours.
    cvt(unsafe { libc::kill(-leader, signal) }).map(drop)
}

/// A process that is over.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Which number it had.
    pub pid: u32,
    /// Whether it did what it was for.
    pub succeeded: bool,
    /// From before its start until its end was seen.
    pub lasted: Duration,
}

/// Has a child of this process make the file `name` in `dir`, with one byte in it, and end at once.
///
/// It executes no program, so it has the name of the thread that calls this. It runs in the memory of this
/// process while this thread stands still, as vfork(2) does it: nothing is copied, so it lives as short as can be.
pub fn write_and_end(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Life> {
    let task = Task {
        dir: dir.as_raw_fd(),
        name: name.as_ptr(),
    };
    let mut stack = vec![0_u128; 4096];
    let begun = Instant::now();
    // SAFETY: the stack grows down from its end, is aligned to 16 bytes, and with CLONE_VFORK this call returns
    // when nobody uses it any more; until then the child calls only what signal-safety(7) lets it call.
    let started = cvt(unsafe {
        libc::clone(
            write_and_exit,
            stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw const task).cast_mut().cast(),
        )
    });
    let (pid, mut status) = (started?, 0);
    loop {
        // SAFETY: the kernel writes one int, for which there is room.
        match cvt(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => {
                other?;
                break;
            }
        }
    }
    Ok(Life {
        pid: pid.unsigned_abs(),
        succeeded: status == 0,
        lasted: begun.elapsed(),
    })
}

struct Task {
    dir: RawFd,
    name: *const libc::c_char,
}

extern "C" fn write_and_exit(task: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the caller of clone handed over a Task and waits until this process has ended.
    let task = unsafe { &*task.cast_const().cast::<Task>() };
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the name is a NUL-terminated string that outlives this process.
    let file = unsafe { libc::openat(task.dir, task.name, flags, 0o600) };
    // SAFETY: one byte is read from a string of one byte.
    let wrote = unsafe { libc::write(file, c"x".as_ptr().cast(), 1) };
    // SAFETY: takes a number; nothing else in this process uses the descriptor.
    let closed = unsafe { libc::close(file) };
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(i32::from(wrote != 1 || closed != 0)) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd as _;
    use std::os::unix::process::CommandExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_writes_and_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let dir = File::open(place.path()).unwrap();
        let life = write_and_end(dir.as_fd(), c"file").unwrap();
        assert!(life.succeeded && life.pid > 1);
        assert_eq!(fs::read(place.path().join("file")).unwrap(), b"x");
        assert!(fs::read_dir(format!("/proc/{}", life.pid)).is_err());
        let again = write_and_end(dir.as_fd(), c"file").unwrap();
        assert!(!again.succeeded && again.pid != life.pid);
    }

    #[test]
    fn a_group_goes_as_a_whole() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 100 & wait"]).process_group(0);
        let mut child = command.spawn().unwrap();
        assert!(has_group(child.id()));
        kill_group(child.id()).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert!(kill_group(0).is_err() && kill_group(1).is_err());
    }
}
