//! Log lines and the files they stand in.
#![forbid(unsafe_code)]

pub mod alert;
pub mod append;
pub mod backwards;
pub mod chain;
pub mod dir;
pub mod encoder;
pub mod escape;
pub mod form;
pub mod front;
pub mod journal;
pub mod line;
pub mod onward;
pub mod order;
pub mod recent;
pub mod scan;
pub mod scratch;
pub mod search;
pub mod source;
pub mod stamp;
pub mod written;
