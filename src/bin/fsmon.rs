//! The fsmon command.
fn main() {}
