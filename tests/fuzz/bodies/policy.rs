//! policy.toml.

use std::collections::BTreeSet;

use fsmon::policy::Policy;

pub fn body(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Policy::parse(text) {
        Ok(policy) => can_be_put_in_force(&policy),
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            assert!(mistakes.is_sorted());
            let last = text.split('\n').count();
            for mistake in mistakes {
                assert!((1..=last).contains(&mistake.line), "{mistake:?}");
                let what = &mistake.what;
                assert!(
                    !what.is_empty() && !what.chars().any(char::is_control),
                    "{what:?}"
                );
            }
        }
    }
}

fn can_be_put_in_force(policy: &Policy) {
    let names: BTreeSet<&str> = policy.rules.iter().map(|rule| rule.name.as_ref()).collect();
    assert_eq!(
        names.len(),
        policy.rules.len(),
        "a rule is called by its name"
    );
    let count = policy.rules.len();
    for need in policy.needs(&[]) {
        assert!(usize::from(need.rule) < count);
    }
    for guarded in policy.guarded() {
        assert!(usize::from(guarded.rule) < count && !guarded.patterns.is_empty());
    }
    let told = policy.explain();
    assert!(
        !told.chars().any(|char| char.is_control() && char != '\n'),
        "{told:?}"
    );
    for path in [&b"/"[..], b"", b"/srv/jobs/a/b", b"/\xff"] {
        if let Some(tag) = policy.tag(path) {
            assert!(!tag.job_id.is_empty());
        }
    }
}
