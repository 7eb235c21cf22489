//! Tells in plain sentences what a policy does.

use super::Policy;

pub(super) fn policy(policy: &Policy) -> String {
    let _ = policy;
    String::new()
}
