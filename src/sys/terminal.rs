//! The terminal that is written to: <https://man7.org/linux/man-pages/man2/TIOCGWINSZ.2const.html>

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cvt;

/// How many columns the terminal has; an error when it is none, 0 when it does not know.
pub fn columns(terminal: BorrowedFd<'_>) -> io::Result<u16> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the pointer is valid for the call, and TIOCGWINSZ writes one struct winsize.
    cvt(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) })?;
    // SAFETY: winsize is four plain numbers, for which all-zero is valid, too.
    Ok(unsafe { size.assume_init() }.ws_col)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_no_terminal_has_no_columns() {
        let file = File::open("/dev/null").unwrap();
        assert!(columns(file.as_fd()).is_err());
    }
}
