//! What is watched: watches as values, and the store that keeps them.
#![forbid(unsafe_code)]
