//! Memory that was freed and is kept for later: <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>

use std::hint::black_box;

/// Gives memory that is free back to the kernel, where the C library can be asked to.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and looks only at memory that nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
    // What lies free at the end of the memory of a thread is not given back by that, but by the next free of so much.
    drop(black_box(Vec::<u8>::with_capacity(AT_ONCE)));
}

/// More than makes glibc look for what it can give back, and less than it would take from the kernel for itself.
const AT_ONCE: usize = 96 * 1024;
