//! Side-band records of a CPU in a shared ring: <https://man7.org/linux/man-pages/man2/perf_event_open.2.html>
//!
//! The event itself is a dummy that never counts. What is wanted are the records that the
//! kernel writes beside it: every fork, change of comm, executable mapping and exit on that
//! CPU, with its `CLOCK_MONOTONIC` time. This needs neither BPF nor tracefs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ring::Filled;
pub use super::ring::RawRecord;
use super::{cvt, memory};

/// `PERF_RECORD_LOST`: how many records did not fit.
pub const RECORD_LOST: u32 = 2;
/// `PERF_RECORD_COMM`.
pub const RECORD_COMM: u32 = 3;
/// `PERF_RECORD_EXIT`.
pub const RECORD_EXIT: u32 = 4;
/// `PERF_RECORD_FORK`.
pub const RECORD_FORK: u32 = 7;
/// `PERF_RECORD_MMAP2`.
pub const RECORD_MMAP2: u32 = 10;
/// Bit of a COMM record's `misc`: the change was an exec.
pub const MISC_COMM_EXEC: u16 = 1 << 13;

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_DUMMY: u64 = 9;
const PERF_SAMPLE_TIME: u64 = 1 << 2;
const PERF_FORMAT_TOTAL_TIME_ENABLED: u64 = 1;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

// Bits of the bit field in perf_event_attr, counted from its first.
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HV: u64 = 1 << 6;
const MMAP: u64 = 1 << 8;
const COMM: u64 = 1 << 9;
const TASK: u64 = 1 << 13;
const WATERMARK: u64 = 1 << 14;
const SAMPLE_ID_ALL: u64 = 1 << 18;
const MMAP2: u64 = 1 << 23;
const COMM_EXEC: u64 = 1 << 24;
const USE_CLOCKID: u64 = 1 << 25;

// Offsets in the control page that precedes the ring (struct perf_event_mmap_page).
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// An MMAP2 record with a path of PATH_MAX bytes is the largest there is.
const LARGEST: u64 = 4096 + 128;

/// `struct perf_event_attr` as far as Linux 4.1 knew it; the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_watermark: u32,
    bp_type: u32,
    bp_addr: u64,
    bp_len: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clockid: i32,
}

const _: () = assert!(size_of::<Attr>() == 96, "PERF_ATTR_SIZE_VER3");

/// The ring of one CPU. Its descriptor becomes readable when the ring is half full.
#[derive(Debug)]
pub struct Ring {
    fd: OwnedFd,
    base: NonNull<u8>,
    page: usize,
    size: usize,
    tail: u64,
    most: u64,
    seam: Vec<u8>,
    cpu: u32,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread; everything that
// moves the tail takes `&mut self`.
unsafe impl Send for Ring {}

impl Ring {
    /// Opens the side band of `cpu` with a ring of `size` bytes (a power of two, at least a page).
    ///
    /// Needs `CAP_PERFMON` or `CAP_SYS_ADMIN`; `None` when the CPU is offline.
    pub fn open(cpu: u32, size: usize) -> io::Result<Option<Self>> {
        let page = memory::page_size();
        if !size.is_power_of_two() || size < page {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let attr = Attr {
            kind: PERF_TYPE_SOFTWARE,
            size: size_of::<Attr>() as u32,
            config: PERF_COUNT_SW_DUMMY,
            sample_type: PERF_SAMPLE_TIME,
            read_format: PERF_FORMAT_TOTAL_TIME_ENABLED,
            flags: EXCLUDE_KERNEL
                | EXCLUDE_HV
                | MMAP
                | COMM
                | TASK
                | WATERMARK
                | SAMPLE_ID_ALL
                | MMAP2
                | COMM_EXEC
                | USE_CLOCKID,
            wakeup_watermark: (size / 2) as u32,
            clockid: libc::CLOCK_MONOTONIC,
            ..Attr::default()
        };
        // SAFETY: `attr` is a perf_event_attr of the size that it names and outlives the call.
        let opened = cvt(unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                -1 as libc::pid_t,
                cpu as libc::c_int,
                -1 as libc::c_int,
                PERF_FLAG_FD_CLOEXEC,
            )
        });
        let fd = match opened {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
            opened => opened?,
        };
        // SAFETY: the kernel has just handed out this descriptor and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let base = map(&fd, page + size)?;
        Ok(Some(Self {
            fd,
            base,
            page,
            size,
            tail: 0,
            most: 0,
            seam: Vec::new(),
            cpu,
        }))
    }

    /// How many bytes of records it has room for.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The most bytes that were found waiting.
    pub fn most_waiting(&self) -> u64 {
        self.most
    }

    /// The CPU whose records these are.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// Whether it is on, which shows in its time going on. The kernel switches it off with its CPU, and not on
    /// again. The question wakes the CPU.
    pub fn is_on(&self) -> bool {
        let first = self.time_on();
        first.is_some() && self.time_on() > first
    }

    /// For how long it has been on, in nanoseconds.
    fn time_on(&self) -> Option<u64> {
        let mut values = [0_u64; 2];
        // SAFETY: the buffer is ours, as long as named, and outlives the call.
        let read = cvt(unsafe {
            libc::read(
                self.fd.as_raw_fd(),
                values.as_mut_ptr().cast(),
                size_of_val(&values),
            )
        });
        read.ok().map(|_| values[1])
    }

    /// Hands every record that is complete now to `each`, oldest first, and frees its room. Returns
    /// whether a record may be missing: one may have found no room (how many did, the kernel says only
    /// when it writes the next one that fits), or something lay there that is no record.
    pub fn drain(&mut self, each: impl FnMut(RawRecord<'_>)) -> bool {
        // The kernel stores data_head after the records it covers: acquire makes them visible.
        let head = self.word(DATA_HEAD).load(Ordering::Acquire);
        self.most = self.most.max(head.wrapping_sub(self.tail));
        let filled = Filled {
            size: self.size,
            tail: self.tail,
            head,
        };
        let was_full = head.wrapping_sub(self.tail).saturating_add(LARGEST) > self.size as u64;
        let mut seam = std::mem::take(&mut self.seam);
        let was_whole = filled.walk(&mut seam, |from, len| self.bytes(from, len), each);
        self.seam = seam;
        self.tail = head;
        // Release: the kernel may overwrite what lies before the tail only after we have read it.
        self.word(DATA_TAIL).store(self.tail, Ordering::Release);
        was_full || !was_whole
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: both offsets lie in the first page of the mapping.
        let at = unsafe { self.base.add(offset) };
        // SAFETY: aligned, mapped as long as self lives, and only accessed atomically by both sides.
        unsafe { AtomicU64::from_ptr(at.as_ptr().cast()) }
    }

    /// Bytes of the ring between tail and head: the kernel leaves those alone.
    fn bytes(&self, from: usize, len: usize) -> &[u8] {
        assert!(from + len <= self.size, "inside the ring");
        // SAFETY: the ring follows the control page and the range was checked just now.
        let at = unsafe { self.base.add(self.page + from) };
        // SAFETY: mapped as long as self lives; the caller asks only for bytes that the kernel
        // has published and will not write again before the tail passes them.
        unsafe { std::slice::from_raw_parts(at.as_ptr(), len) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping, and no reference into it is left.
        let done = cvt(unsafe { libc::munmap(self.base.as_ptr().cast(), self.page + self.size) });
        debug_assert!(done.is_ok(), "unmapping our own mapping");
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn map(fd: &OwnedFd, len: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing of ours.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}
