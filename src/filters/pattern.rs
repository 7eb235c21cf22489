//! Patterns for whole paths: `/srv/*/key`, `/home/**/.ssh/id_*`.

use std::fmt;

use super::ParseError;
use super::glob::{Part, is_well_formed, name_matches, path_matches};

/// A pattern for absolute paths. `*`, `?` and `[]` stay within a component, `**` stands for any number of
/// them; a backslash takes the meaning from the next character. A leading dot is like any other byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    parts: Vec<Part>,
}

impl PathPattern {
    /// Reads a pattern. It has to begin with `/`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let bad = |why: &str| ParseError::new(text, "a path pattern", why);
        let body = text
            .strip_prefix('/')
            .ok_or_else(|| bad("it has to begin with '/'"))?;
        if body.contains('\0') {
            return Err(bad("it holds a NUL"));
        }
        let mut parts = Vec::new();
        for name in body.strip_suffix('/').unwrap_or(body).split('/') {
            match name {
                "" | "." | ".." => return Err(bad("it has a component that no file can have")),
                "**" if parts.last() == Some(&Part::AnyDirs) => {}
                "**" => parts.push(Part::AnyDirs),
                name if is_well_formed(name.as_bytes()) => parts.push(Part::Name(name.into())),
                _ => return Err(bad("'[' or '\\' without its end")),
            }
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The pattern with another place instead of its own: of the path that is meant, when there is only
    /// one, else of its base.
    pub fn moved_to(&self, place: &str) -> Result<Self, ParseError> {
        let mut text = String::new();
        for char in place.trim_end_matches('/').chars() {
            if matches!(char, '*' | '?' | '[' | '\\') {
                text.push('\\');
            }
            text.push(char);
        }
        let certain = self.plain().len();
        if certain < self.parts.len() {
            for name in self.text.split('/').skip(1 + certain) {
                text.push('/');
                text.push_str(name);
            }
        }
        Self::parse(&text)
    }

    /// Whether the absolute path is meant.
    pub fn matches(&self, path: &[u8]) -> bool {
        let below = path.strip_prefix(b"/").filter(|below| !below.is_empty());
        below.is_some() && path_matches(&self.parts, below)
    }

    /// The deepest directory that is certain: everything that is meant lies below it.
    pub fn base(&self) -> Vec<u8> {
        let plain = self.plain();
        let certain = plain.len().min(self.parts.len() - 1);
        joined(&plain[..certain])
    }

    /// The one path that is meant, when there is only one.
    pub fn literal(&self) -> Option<Vec<u8>> {
        let plain = self.plain();
        (plain.len() == self.parts.len()).then(|| joined(&plain))
    }

    /// How many components a path that is meant has; `None` when a `**` leaves it open.
    pub fn depth(&self) -> Option<usize> {
        let open = self.parts.contains(&Part::AnyDirs);
        (!open).then_some(self.parts.len())
    }

    /// Whether something in the directory `dir` itself can be meant.
    pub fn can_be_in(&self, dir: &[u8]) -> bool {
        self.rests(dir).iter().any(|rest| match rest {
            [Part::Name(_)] => true,
            [Part::AnyDirs, later @ ..] => later.len() <= 1,
            _ => false,
        })
    }

    /// Whether something below the directory `dir`, at any depth, can be meant.
    pub fn can_be_below(&self, dir: &[u8]) -> bool {
        self.rests(dir).iter().any(|rest| !rest.is_empty())
    }

    /// What of the pattern is left behind `dir`, in each way in which `dir` can be the beginning.
    fn rests(&self, dir: &[u8]) -> Vec<&[Part]> {
        let mut rests: Vec<&[Part]> = vec![&self.parts];
        let names = dir.split(|byte| *byte == b'/');
        for name in names.filter(|name| !name.is_empty()) {
            let mut next: Vec<&[Part]> = Vec::new();
            for rest in rests {
                // A `**` takes this name and stays, or takes nothing.
                let mut later = rest;
                while let [Part::AnyDirs, behind @ ..] = later {
                    next.push(later);
                    later = behind;
                }
                if let [Part::Name(glob), behind @ ..] = later
                    && name_matches(glob, name)
                {
                    next.push(behind);
                }
            }
            next.sort_by_key(|rest| rest.len());
            next.dedup_by_key(|rest| rest.len());
            rests = next;
        }
        rests
    }

    /// The names in front that are no patterns, as they are meant.
    fn plain(&self) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        for part in &self.parts {
            let Part::Name(glob) = part else { break };
            let Some(name) = unescaped(glob) else { break };
            names.push(name);
        }
        names
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The name that a component means; `None` when it can mean several.
fn unescaped(glob: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut bytes = glob.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return None,
            b'\\' => name.push(*bytes.next()?),
            _ => name.push(*byte),
        }
    }
    Some(name)
}

fn joined(names: &[Vec<u8>]) -> Vec<u8> {
    let mut path = Vec::new();
    for name in names {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn stars_stay_within_a_component_and_two_cross_them() {
        for (text, path, matches) in [
            ("/srv/key", "/srv/key", true),
            ("/srv/key/", "/srv/key", true),
            ("/srv/key", "/srv/key/x", false),
            ("/srv/*/key", "/srv/a/key", true),
            ("/srv/*/key", "/srv/a/b/key", false),
            ("/srv/*/key", "/srv/key", false),
            ("/srv/**/key", "/srv/key", true),
            ("/srv/**/key", "/srv/a/b/key", true),
            ("/srv/**", "/srv/a/b", true),
            ("/srv/**", "/srv", false),
            ("/**", "/a", true),
            ("/**", "/", false),
            ("/home/*/.ssh/id_*", "/home/u/.ssh/id_rsa", true),
            ("/a/?", "/a/.", true),
            ("/a/\\*", "/a/*", true),
            ("/a/\\*", "/a/b", false),
        ] {
            assert_eq!(
                pattern(text).matches(path.as_bytes()),
                matches,
                "{text} {path}"
            );
        }
    }

    #[test]
    fn a_pattern_can_be_moved() {
        for (text, place, moved) in [
            ("/run/key", "/srv/[a", "/srv/\\[a"),
            ("/run/*/key/", "/srv", "/srv/*/key/"),
            ("/run/a\\*/**/k?", "/srv/x", "/srv/x/**/k?"),
            ("/**/key", "/srv/", "/srv/**/key"),
        ] {
            let moved_pattern = pattern(text).moved_to(place).unwrap();
            assert_eq!(moved_pattern.to_string(), moved, "{text}");
        }
        assert!(pattern("/run").moved_to("/").is_err(), "nothing can match");
    }

    #[test]
    fn the_base_is_what_is_certain() {
        for (text, base, literal) in [
            ("/srv/key", "/srv", Some("/srv/key")),
            ("/key", "/", Some("/key")),
            ("/srv/*/key", "/srv", None),
            ("/s*/key", "/", None),
            ("/**", "/", None),
            ("/a\\*/b\\?", "/a*", Some("/a*/b?")),
            ("/srv/a/**", "/srv/a", None),
        ] {
            assert_eq!(pattern(text).base(), base.as_bytes(), "{text}");
            assert_eq!(
                pattern(text).literal(),
                literal.map(|path| path.as_bytes().to_vec()),
                "{text}"
            );
        }
    }

    #[test]
    fn the_depth_is_known_without_two_stars() {
        for (text, depth) in [
            ("/key", Some(1)),
            ("/srv/*/key/", Some(3)),
            ("/srv/**", None),
            ("/**/key", None),
        ] {
            assert_eq!(pattern(text).depth(), depth, "{text}");
        }
    }

    #[test]
    fn directories_that_can_hold_something_are_known() {
        for (text, dir, inside, below) in [
            ("/srv/key", "/srv", true, true),
            ("/srv/key", "/", false, true),
            ("/srv/key", "/srv/key", false, false),
            ("/srv/key", "/other", false, false),
            ("/srv/*/key", "/srv/a", true, true),
            ("/srv/*/key", "/srv", false, true),
            ("/srv/*/key", "/srv/a/b", false, false),
            ("/srv/**/key", "/srv", true, true),
            ("/srv/**/key", "/srv/a/b", true, true),
            ("/srv/**/a/key", "/srv", false, true),
            ("/srv/**/a/key", "/srv/x/a", true, true),
            ("/srv/**", "/srv/x", true, true),
            ("/srv/**", "/", false, true),
        ] {
            assert_eq!(
                pattern(text).can_be_in(dir.as_bytes()),
                inside,
                "{text} in {dir}"
            );
            assert_eq!(
                pattern(text).can_be_below(dir.as_bytes()),
                below,
                "{text} below {dir}"
            );
        }
    }

    #[test]
    fn broken_patterns_are_refused() {
        for text in ["", "a", "/", "//", "/a//b", "/../a", "/[a", "/a\\", "/a\0"] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }
}
