//! Room on disk for what must not fill the memory.

use std::env;
use std::fs::File;
use std::io;

use crate::sys::files;

/// A file without a name where temporary files belong; it is gone when it is closed.
pub fn scratch() -> io::Result<File> {
    files::nameless(&env::temp_dir())
}
