//! Ending processes: <https://man7.org/linux/man-pages/man2/kill.2.html>

use std::io;

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

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

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
