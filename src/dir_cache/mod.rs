//! Which directory is where: handle -> (parent, name), and the last place and size of files.
#![forbid(unsafe_code)]

pub mod files;
pub mod tree;
pub mod walk;

pub use files::FileTable;
pub use tree::{DirTree, NodeId, Place};
