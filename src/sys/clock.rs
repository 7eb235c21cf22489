//! The kernel's clocks: <https://man7.org/linux/man-pages/man2/clock_gettime.2.html>

use std::mem::MaybeUninit;

use super::cvt;

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of perf records and of the proc connector.
pub fn monotonic() -> u64 {
    read(libc::CLOCK_MONOTONIC) as u64
}

/// `CLOCK_BOOTTIME` in nanoseconds: monotonic plus the time asleep; /proc counts start times on it.
pub fn boottime() -> u64 {
    read(libc::CLOCK_BOOTTIME) as u64
}

/// `CLOCK_REALTIME` in nanoseconds since 1970.
pub fn realtime() -> i64 {
    read(libc::CLOCK_REALTIME)
}

/// The unit in which /proc counts time, per second.
pub fn ticks_per_second() -> u64 {
    // SAFETY: sysconf takes a number and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|&n| n > 0).unwrap_or(100)
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is valid for the call. The result is not needed: the call fails only
    // for a clock that does not exist, and then the zeroes stay.
    let done = cvt(unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) });
    debug_assert!(
        done.is_ok(),
        "clock {clock} is in every kernel that fanotify is in"
    );
    // SAFETY: all-zero is a valid timespec, and the kernel only writes valid ones.
    let time = unsafe { time.assume_init() };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_forward_and_boottime_is_not_behind() {
        let first = monotonic();
        assert!(boottime() >= first);
        assert!(monotonic() >= first);
        assert!(realtime() > 1_600_000_000_000_000_000);
        assert!(ticks_per_second() >= 100);
    }
}
