//! The rules as they are asked: which of them mean a path, and whether one applies to a process.

use super::ancestry::Lineage;
use super::{Asked, Guarded};
use crate::filters::pattern::PathPattern;
use crate::sys::account::ids_of;

/// All rules in force.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    guarded: Guarded,
    /// Who it is for; `None`: everybody.
    uids: Option<Vec<u32>>,
}

/// Whether a rule refuses an open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applies {
    Yes,
    No,
    /// An ancestor that is dead could change it.
    Unknown,
}

impl Rules {
    /// Takes the rules, and names the users that nobody knows.
    pub(super) fn new(wanted: Vec<Guarded>, unknown: &mut Vec<String>) -> Self {
        let rules = wanted.into_iter().map(|guarded| {
            let uids = guarded.users.iter().filter_map(|user| {
                let uid = ids_of(user).map(|(uid, _)| uid);
                if uid.is_none() && !unknown.contains(user) {
                    unknown.push(user.clone());
                }
                uid
            });
            let uids: Vec<u32> = uids.collect();
            Rule {
                uids: (!guarded.users.is_empty()).then_some(uids),
                guarded,
            }
        });
        Self {
            rules: rules.collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Places in the list of the rules that mean the path.
    pub(super) fn that_mean(&self, path: &[u8]) -> Vec<usize> {
        let mean = |rule: &Rule| {
            rule.guarded
                .patterns
                .iter()
                .any(|meant| meant.matches(path))
        };
        let all = self.rules.iter().enumerate();
        all.filter(|(_, rule)| mean(rule))
            .map(|(at, _)| at)
            .collect()
    }

    /// Whether a file in the directory itself can be meant.
    pub(super) fn can_be_in(&self, dir: &[u8]) -> bool {
        let mut patterns = self.rules.iter().flat_map(|rule| &rule.guarded.patterns);
        patterns.any(|pattern| pattern.can_be_in(dir))
    }

    /// Whether anything below the directory can be meant.
    pub(super) fn can_be_below(&self, dir: &[u8]) -> bool {
        let mut patterns = self.rules.iter().flat_map(|rule| &rule.guarded.patterns);
        patterns.any(|pattern| pattern.can_be_below(dir))
    }

    /// The directories at which to begin; none lies below another.
    pub(super) fn bases(&self) -> Vec<Vec<u8>> {
        let patterns = self.rules.iter().flat_map(|rule| &rule.guarded.patterns);
        let mut all: Vec<_> = patterns.map(PathPattern::base).collect();
        all.sort();
        let mut bases: Vec<Vec<u8>> = Vec::new();
        for base in all {
            // A walk from above gets here by itself: it goes wherever a match can be.
            if !bases.iter().any(|above| is_at_or_below(&base, above)) {
                bases.push(base);
            }
        }
        bases
    }

    /// Whether a pattern leads by plain names to the directory or into it.
    pub(super) fn lead_to(&self, dir: &[u8]) -> bool {
        let mut patterns = self.rules.iter().flat_map(|rule| &rule.guarded.patterns);
        patterns.any(|pattern| is_at_or_below(&pattern.base(), dir))
    }

    pub(super) fn number(&self, at: usize) -> Option<u16> {
        self.rules.get(at).map(|rule| rule.guarded.rule)
    }

    /// Whether the rule refuses this process.
    pub(super) fn applies(&self, at: usize, who: &Lineage) -> Applies {
        let Some(Rule { guarded, uids }) = self.rules.get(at) else {
            return Applies::No;
        };
        let is_meant = |uids: &Vec<u32>| who.euid().is_some_and(|uid| uids.contains(&uid));
        if !uids.as_ref().is_none_or(is_meant) {
            return Applies::No;
        }
        let descends = |cmds: &[String]| {
            let mut relatives = who.chain.iter();
            relatives.any(|relative| cmds.iter().any(|cmd| relative.is_called(cmd)))
        };
        if descends(&guarded.except_cmds) {
            Applies::No
        } else if (guarded.cmds.is_empty() || descends(&guarded.cmds))
            && guarded.except_cmds.is_empty()
        {
            Applies::Yes
        } else {
            // Orphans are given to init, so nothing here tells whether the chain is whole.
            Applies::Unknown
        }
    }

    /// The rule as it is asked about.
    pub(super) fn asked(&self, at: usize) -> Option<Asked> {
        let guarded = &self.rules.get(at)?.guarded;
        Some(Asked {
            rule: guarded.rule,
            cmds: guarded.cmds.clone(),
            except_cmds: guarded.except_cmds.clone(),
        })
    }
}

/// Whether `path` is `dir` or below it.
pub(super) fn is_at_or_below(path: &[u8], dir: &[u8]) -> bool {
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::super::ancestry::Relative;
    use super::*;

    fn guarded(patterns: &[&str], cmds: &[&str], except: &[&str], users: &[&str]) -> Guarded {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Guarded {
            rule: 7,
            patterns: patterns
                .iter()
                .map(|text| PathPattern::parse(text).unwrap())
                .collect(),
            cmds: owned(cmds),
            except_cmds: owned(except),
            users: owned(users),
        }
    }

    fn who(euid: u32, names: &[&str]) -> Lineage {
        let chain = names.iter().map(|name| Relative::named(name, None));
        Lineage::of(euid, chain.collect())
    }

    #[test]
    fn a_rule_applies_to_those_it_is_for() {
        use Applies::{No, Unknown, Yes};
        let anybody: &[&str] = &[];
        for (cmds, except, users, names, expected) in [
            (anybody, anybody, anybody, &["cat", "sh"] as &[&str], Yes),
            (&["agent"], anybody, anybody, &["cat", "agent"], Yes),
            (&["agent"], anybody, anybody, &["cat", "sh"], Unknown),
            (anybody, &["backup"], anybody, &["tar", "backup"], No),
            (anybody, &["backup"], anybody, &["tar", "sh"], Unknown),
            (&["agent"], &["backup"], anybody, &["backup", "agent"], No),
            (anybody, anybody, &["1000"], &["cat"], Yes),
            (anybody, anybody, &["root", "1001"], &["cat"], No),
            (anybody, anybody, &["nobody-of-this-name"], &["cat"], No),
        ] {
            let rules = Rules::new(vec![guarded(&["/a"], cmds, except, users)], &mut Vec::new());
            assert_eq!(
                rules.applies(0, &who(1000, names)),
                expected,
                "{cmds:?} {except:?} {users:?}"
            );
        }
        let mut unknown = Vec::new();
        Rules::new(
            vec![guarded(&["/a"], &[], &[], &["nobody-of-this-name"])],
            &mut unknown,
        );
        assert_eq!(unknown, ["nobody-of-this-name"]);
    }

    #[test]
    fn walks_begin_once_at_each_place() {
        let patterns = [
            "/srv/a/*",
            "/srv/a/b/c",
            "/srv/ab/c",
            "/etc/shadow",
            "/srv/a/x",
        ];
        let rules = Rules::new(vec![guarded(&patterns, &[], &[], &[])], &mut Vec::new());
        assert_eq!(
            rules.bases(),
            [b"/etc".to_vec(), b"/srv/a".to_vec(), b"/srv/ab".to_vec()]
        );
    }
}
