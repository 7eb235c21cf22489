//! What is done to the machine itself, and undone whatever happens.

use std::fs;

use fsmon::sys::clock;
use rustix::time::{ClockId, Timespec, clock_settime};

use super::chronicle::Fault;

const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";

/// A change of the machine, undone when dropped.
#[derive(Debug)]
pub(crate) enum Machine {
    /// Wall clock minus monotonic clock, as it was.
    Clock(i64),
    Cpu,
}

impl Machine {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Clock(_) => Fault::ClockSet,
            Self::Cpu => Fault::CpuOffline,
        }
    }
}

/// Sets the wall clock by so many nanoseconds.
pub(crate) fn set_clock(by: i64) -> Machine {
    let offset = clock::realtime() - clock::monotonic().cast_signed();
    set_offset(offset + by);
    Machine::Clock(offset)
}

fn set_offset(offset: i64) {
    let wall = clock::monotonic().cast_signed() + offset;
    let time = Timespec {
        tv_sec: wall.div_euclid(1_000_000_000),
        tv_nsec: wall.rem_euclid(1_000_000_000),
    };
    clock_settime(ClockId::Realtime, time).unwrap();
}

/// Takes the second CPU away, where there is one that can go.
pub(crate) fn cpu_offline() -> Option<Machine> {
    fs::write(ONLINE, "0").ok().map(|()| Machine::Cpu)
}

impl Drop for Machine {
    fn drop(&mut self) {
        match self {
            Self::Clock(offset) => set_offset(*offset),
            Self::Cpu => fs::write(ONLINE, "1").unwrap(),
        }
    }
}
