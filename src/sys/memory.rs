//! Memory that was used once and is kept for later: <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>,
//! <https://man7.org/linux/man-pages/man2/madvise.2.html>

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ptr;

/// Gives memory back to the kernel: what is free, where the C library can be asked to, and the pages of programs.
///
/// Of those the kernel maps what lies near the one that is needed and all of a large folio that holds it; so after
/// the start nearly the whole program counts as resident, of which a recorder at work needs a small part. What is
/// needed again is mapped again from the page cache.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and looks only at memory that nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
    // What lies free at the end of the memory of a thread is not given back by that, but by the next free of so much.
    drop(black_box(Vec::<u8>::with_capacity(AT_ONCE)));
    // SAFETY: the function has the wanted type, does not unwind, and gets no data.
    unsafe {
        libc::dl_iterate_phdr(Some(unmap_program), ptr::null_mut());
    }
}

/// Unmaps what nobody can have written to of one program or library.
unsafe extern "C" fn unmap_program(
    program: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a description that is valid during the call.
    let program = unsafe { &*program };
    if program.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the description says where its program headers are, and how many.
    let headers =
        unsafe { std::slice::from_raw_parts(program.dlpi_phdr, program.dlpi_phnum.into()) };
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let from = (program.dlpi_addr + header.p_vaddr) & !(page_size() as u64 - 1);
            let until = program.dlpi_addr + header.p_vaddr + header.p_memsz;
            let from = ptr::without_provenance_mut(from as usize);
            // SAFETY: these pages cannot be written to, so each comes back as it was; but breakpoints are lost.
            unsafe {
                libc::madvise(
                    from,
                    (until - from.addr() as u64) as usize,
                    libc::MADV_DONTNEED,
                );
            }
        }
    }
    0
}

/// The size of a page.
pub(super) fn page_size() -> usize {
    // SAFETY: sysconf takes a number and touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// More than makes glibc look for what it can give back, and less than it would take from the kernel for itself.
const AT_ONCE: usize = 96 * 1024;
