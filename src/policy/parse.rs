//! Reads policy.toml.

use super::{Mistake, Policy};

pub(super) fn policy(text: &str) -> Result<Policy, Vec<Mistake>> {
    let _ = text;
    Ok(Policy::default())
}
