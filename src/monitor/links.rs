//! Rules whose paths lead through symbolic links: events name the real path, so rules have to mean that, too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::filters::pattern::PathPattern;
use crate::monitored::path::resolve;
use crate::policy::{Jobs, Policy, Root, Trigger};

/// Adds to each path of a rule or a job where it leads now. What was written stays: it is what a link
/// itself is called.
pub(super) fn follow(policy: &mut Policy) {
    for rule in &mut policy.rules {
        match &mut rule.trigger {
            Trigger::Canary { patterns, .. } | Trigger::Secret { patterns, .. } => {
                let led: Vec<_> = patterns.iter().filter_map(real_pattern).collect();
                patterns.extend(led);
            }
            Trigger::Burst { below, .. } => add_real(below),
            Trigger::Outside { inside, below, .. } => {
                add_real(inside);
                add_real(below);
            }
        }
    }
    let mut jobs = policy.jobs.list().to_vec();
    for job in &mut jobs {
        let led = job.roots.iter().filter_map(|root| {
            let path = real(&root.path)?;
            Some(Root {
                role: root.role,
                path,
            })
        });
        let led: Vec<_> = led.collect();
        job.roots.extend(led);
    }
    policy.jobs = Jobs::new(jobs);
}

fn add_real(dirs: &mut Vec<Vec<u8>>) {
    let led: Vec<_> = dirs.iter().filter_map(|dir| real(dir)).collect();
    dirs.extend(led);
}

fn real_pattern(pattern: &PathPattern) -> Option<PathPattern> {
    let place = pattern.literal().unwrap_or_else(|| pattern.base());
    let place = String::from_utf8(real(&place)?).ok()?;
    pattern.moved_to(&place).ok()
}

/// The real path, if it is another one.
fn real(path: &[u8]) -> Option<Vec<u8>> {
    // A path that cannot be looked at stays as it was written.
    let real = resolve(Path::new(OsStr::from_bytes(path))).ok()?;
    let real = real.as_os_str().as_bytes();
    (real != path).then(|| real.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_mean_what_their_links_lead_to() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        std::fs::create_dir(place.join("real")).unwrap();
        std::os::unix::fs::symlink("real", place.join("link")).unwrap();
        let text = r#"
            [[rule]]
            name = "a"
            kind = "canary"
            paths = ["/P/link/key", "/P/link/**/k*", "/P/real/x"]
            [[rule]]
            name = "b"
            kind = "outside"
            cmd = "x"
            inside = "/P/link"
            below = "/P"
            [[job]]
            id = "j"
            cache = "/P/link/in"
        "#;
        let mut policy = Policy::parse(&text.replace("/P", place.to_str().unwrap())).unwrap();
        follow(&mut policy);
        let Trigger::Canary { patterns, .. } = &policy.rules[0].trigger else {
            panic!("{policy:?}");
        };
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let at = |path: &str| format!("{}/{path}", place.display());
        let wanted = ["link/key", "link/**/k*", "real/x", "real/key", "real/**/k*"];
        assert_eq!(patterns, wanted.map(at));
        let Trigger::Outside { inside, below, .. } = &policy.rules[1].trigger else {
            panic!("{policy:?}");
        };
        assert_eq!(inside, &["link", "real"].map(|dir| at(dir).into_bytes()));
        assert_eq!(below.len(), 1);
        assert!(policy.tag(at("real/in/y").as_bytes()).is_some());
    }
}
