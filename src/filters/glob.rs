//! Exclude patterns in the manner of gitignore(5), matched on bytes.

use super::ParseError;

/// A list of patterns; the last one that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobSet {
    patterns: Vec<Pattern>,
}

impl GlobSet {
    /// Reads patterns: `target/`, `*.swp`, `**/node_modules`, `/anchored`, `!kept`.
    pub fn parse<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, ParseError> {
        let patterns = patterns
            .into_iter()
            .map(|text| Pattern::parse(text.as_ref()))
            .collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a path, relative to the watched one, is excluded, itself or through a directory above it.
    ///
    /// `is_dir` is `None` when it is not known; a pattern for directories only then says nothing,
    /// for an event too many is better than one too few.
    pub fn excludes(&self, rel_path: &[u8], is_dir: Option<bool>) -> bool {
        if self.patterns.is_empty() || rel_path.is_empty() {
            return false;
        }
        // As in git, what lies below an excluded directory cannot be taken back in, so the first hit decides.
        let above = rel_path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        above.into_iter().any(|at| self.hits(&rel_path[..at], true))
            || self.hits(rel_path, is_dir == Some(true))
    }

    fn hits(&self, path: &[u8], is_dir: bool) -> bool {
        let last = self
            .patterns
            .iter()
            .rev()
            .find(|pattern| (is_dir || !pattern.only_dirs) && pattern.matches(path));
        last.is_some_and(|pattern| !pattern.negated)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    negated: bool,
    only_dirs: bool,
    /// Whether the whole path has to match, or its last component is enough.
    anchored: bool,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `**`: any number of directories, also none.
    AnyDirs,
    Name(Vec<u8>),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, ParseError> {
        let bad = |why: &str| ParseError::new(text, "an exclude pattern", why);
        let (negated, body) = text
            .strip_prefix('!')
            .map_or((false, text), |body| (true, body));
        let (only_dirs, body) = body
            .strip_suffix('/')
            .map_or((false, body), |body| (true, body));
        let anchored = body.contains('/');
        let body = body.strip_prefix('/').unwrap_or(body);
        if body.is_empty() {
            return Err(bad("it is empty"));
        }
        if body.contains('\0') {
            return Err(bad("it holds a NUL"));
        }
        let mut parts = Vec::new();
        for name in body.split('/') {
            match name {
                "" | "." | ".." => return Err(bad("it has a component that no file can have")),
                "**" if parts.last() == Some(&Part::AnyDirs) => {}
                "**" => parts.push(Part::AnyDirs),
                name if is_well_formed(name.as_bytes()) => parts.push(Part::Name(name.into())),
                _ => return Err(bad("'[' or '\\' without its end")),
            }
        }
        Ok(Self {
            negated,
            only_dirs,
            anchored,
            parts,
        })
    }

    fn matches(&self, path: &[u8]) -> bool {
        if self.anchored {
            return path_matches(&self.parts, Some(path));
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        path_matches(&self.parts, Some(name))
    }
}

/// Matches a path; `None` is what is left when all of it was taken. As with the stars within a name, only the
/// latest `**` has to be tried again: the work is bounded by the number of parts times that of names.
pub(super) fn path_matches(parts: &[Part], path: Option<&[u8]>) -> bool {
    let (mut at, mut here) = (0, path);
    let mut retry: Option<(usize, Option<&[u8]>)> = None;
    loop {
        if parts.get(at) == Some(&Part::AnyDirs) {
            // At the end it stands for everything inside, so at least one name.
            if at + 1 == parts.len() {
                return here.is_some();
            }
            at += 1;
            retry = Some((at, here));
            continue;
        }
        match (parts.get(at), here) {
            (None, None) => return true,
            (Some(Part::Name(glob)), Some(rest)) if name_matches(glob, first_name(rest).0) => {
                at += 1;
                here = first_name(rest).1;
                continue;
            }
            _ => {}
        }
        match retry {
            // The `**` takes one more name.
            Some((star, Some(from))) => {
                let later = first_name(from).1;
                retry = Some((star, later));
                (at, here) = (star, later);
            }
            _ => return false,
        }
    }
}

/// The first name of a path, and what is below it.
fn first_name(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(at) => (&path[..at], Some(&path[at + 1..])),
        None => (path, None),
    }
}

/// Matches one component. On a mismatch only the latest `*` has to be tried again, so this stays quadratic.
pub(super) fn name_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if glob.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, pos));
            continue;
        }
        match name.get(pos) {
            None if at == glob.len() => return true,
            Some(byte) if let Some(next) = step(glob, at, *byte) => {
                at = next;
                pos += 1;
                continue;
            }
            None | Some(_) => {}
        }
        match retry {
            Some((star, from)) if from < name.len() => {
                retry = Some((star, from + 1));
                (at, pos) = (star, from + 1);
            }
            _ => return false,
        }
    }
}

/// Where the pattern goes on when the one at `at` takes `byte`.
fn step(glob: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *glob.get(at)? {
        b'?' => Some(at + 1),
        b'[' => {
            let (hit, next) = class(glob, at, byte)?;
            hit.then_some(next)
        }
        b'\\' => (*glob.get(at + 1)? == byte).then_some(at + 2),
        literal => (literal == byte).then_some(at + 1),
    }
}

/// Evaluates `[a-z]` or `[!a-z]` at `at`; `None` when it has no end.
fn class(glob: &[u8], at: usize, byte: u8) -> Option<(bool, usize)> {
    let mut at = at + 1;
    let negated = matches!(glob.get(at)?, b'!' | b'^');
    at += usize::from(negated);
    let start = at;
    let mut hit = false;
    while at == start || *glob.get(at)? != b']' {
        let (low, next) = class_member(glob, at)?;
        at = next;
        let mut high = low;
        if glob.get(at) == Some(&b'-') && *glob.get(at + 1)? != b']' {
            (high, at) = class_member(glob, at + 1)?;
        }
        hit |= (low..=high).contains(&byte);
    }
    Some((hit != negated, at + 1))
}

fn class_member(glob: &[u8], at: usize) -> Option<(u8, usize)> {
    match *glob.get(at)? {
        b'\\' => Some((*glob.get(at + 1)?, at + 2)),
        byte => Some((byte, at + 1)),
    }
}

pub(super) fn is_well_formed(glob: &[u8]) -> bool {
    let mut at = 0;
    while let Some(byte) = glob.get(at) {
        at = match byte {
            b'[' => match class(glob, at, 0) {
                Some((_, next)) => next,
                None => return false,
            },
            b'\\' if at + 1 == glob.len() => return false,
            b'\\' => at + 2,
            _ => at + 1,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(patterns: &[&str], path: &str, is_dir: bool) -> bool {
        GlobSet::parse(patterns)
            .unwrap()
            .excludes(path.as_bytes(), Some(is_dir))
    }

    #[test]
    fn patterns_behave_as_in_gitignore() {
        let cases: &[(&str, &str, bool, bool)] = &[
            // pattern, path, is a directory, excluded
            ("target/", "target", true, true),
            ("target/", "target", false, false),
            ("target/", "a/target", true, true),
            ("target/", "a/target/debug/x.o", false, true),
            ("target/", "targets/x", false, false),
            ("*.swp", ".a.swp", false, true),
            ("*.swp", "a/b/c.swp", false, true),
            ("*.swp", "a.swpx", false, false),
            ("*", "a/b", false, true),
            ("**/node_modules", "node_modules", true, true),
            ("**/node_modules", "a/b/node_modules/c", false, true),
            ("/anchored", "anchored", false, true),
            ("/anchored", "a/anchored", false, false),
            ("a/b", "a/b", false, true),
            ("a/b", "a/b/c", false, true),
            ("a/b", "x/a/b", false, false),
            ("a/*", "a/b", false, true),
            ("a/*/c", "a/b/c", false, true),
            ("a/*/c", "a/b/b/c", false, false),
            ("a/**", "a", true, false),
            ("a/**", "a/b/c", false, true),
            ("a/**/c", "a/c", false, true),
            ("a/**/c", "a/x/y/c", false, true),
            ("a/**/c", "a/x/y/d", false, false),
            ("**", "a", false, true),
            ("a?c", "abc", false, true),
            ("a?c", "ac", false, false),
            ("a?c", "a/c", false, false),
            ("[a-c]x", "bx", false, true),
            ("[a-c]x", "dx", false, false),
            ("[!a-c]x", "dx", false, true),
            ("[]]x", "]x", false, true),
            ("[a-]x", "-x", false, true),
            ("\\*x", "*x", false, true),
            ("\\*x", "ax", false, false),
            ("\\!x", "!x", false, true),
            ("a**b", "axxb", false, true),
            ("*a*b*c*", "xxaxxbxxcxx", false, true),
            ("*a*b*c", "xxaxxcxxb", false, false),
        ];
        for (pattern, path, is_dir, excluded) in cases {
            assert_eq!(
                excludes(&[pattern], path, *is_dir),
                *excluded,
                "{pattern} on {path}"
            );
        }
    }

    #[test]
    fn the_last_match_decides_but_not_below_an_excluded_directory() {
        assert!(!excludes(&["*.log", "!keep.log"], "a/keep.log", false));
        assert!(excludes(&["!keep.log", "*.log"], "a/keep.log", false));
        assert!(excludes(&["a/", "!keep.log"], "a/keep.log", false));
    }

    #[test]
    fn names_are_bytes() {
        let set = GlobSet::parse(["?.x"]).unwrap();
        assert!(set.excludes(b"\xff.x", Some(false)));
    }

    #[test]
    fn an_unknown_kind_is_not_taken_for_a_directory() {
        let set = GlobSet::parse(["target/", "*.o"]).unwrap();
        assert!(!set.excludes(b"target", None));
        assert!(set.excludes(b"x.o", None));
        assert!(!set.excludes(b"", Some(true)));
    }

    #[test]
    fn broken_patterns_are_refused() {
        for pattern in ["", "/", "!", "[a", "a\\", "a//b", "../a", "a\0b"] {
            assert!(GlobSet::parse([pattern]).is_err(), "{pattern}");
        }
    }

    /// The definition, which takes for ever with many `**`.
    fn plainly(parts: &[Part], path: Option<&[u8]>) -> bool {
        let (Some((part, later)), Some(rest)) = (parts.split_first(), path) else {
            return parts.is_empty() && path.is_none();
        };
        let (name, below) = first_name(rest);
        match part {
            Part::Name(glob) => name_matches(glob, name) && plainly(later, below),
            Part::AnyDirs if later.is_empty() => true,
            Part::AnyDirs => plainly(later, path) || (below.is_some() && plainly(parts, below)),
        }
    }

    proptest::proptest! {
        #[test]
        fn many_directories_are_matched_as_defined(pattern in "(a|b|\\*|\\*\\*)(/(a|b|\\*|\\*\\*)){0,6}", path in "(a|b|c)(/(a|b|c)){0,7}") {
            let parts: Vec<Part> = pattern
                .split('/')
                .map(|name| if name == "**" { Part::AnyDirs } else { Part::Name(name.into()) })
                .collect();
            let path = Some(path.as_bytes());
            proptest::prop_assert_eq!(path_matches(&parts, path), plainly(&parts, path), "{}", pattern);
        }
    }

    #[test]
    fn many_double_stars_stay_fast() {
        let pattern = "**/a/".repeat(20) + "b";
        let path = "a/".repeat(1500) + "c";
        assert!(!excludes(&[&pattern], &path, false));
    }

    #[test]
    fn many_stars_stay_fast() {
        assert!(!excludes(
            &["*a*a*a*a*a*a*a*a*a*a*b"],
            &"a".repeat(255),
            false
        ));
    }
}
