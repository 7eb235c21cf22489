//! Which paths a watch covers.

use super::glob::GlobSet;

/// The part of the tree that a watch covers. Paths are absolute and clean bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The watched path, without trailing slash; `/` is the root.
    pub root: Vec<u8>,
    /// Whether everything below is covered, or only the path and its direct children.
    pub recursive: bool,
    /// How deep below the root; 0 is the root alone.
    pub max_depth: Option<u32>,
    /// What is left out, relative to the root.
    pub exclude: GlobSet,
}

impl Scope {
    /// How far below the root `path` is: 0 for the root itself, 1 for its children, `None` when it is not below.
    pub fn depth_of(&self, path: &[u8]) -> Option<u32> {
        match self.relative(path)? {
            b"" => Some(0),
            below => Some(below.split(|byte| *byte == b'/').map(|_| 1).sum()),
        }
    }

    /// Whether `path` is covered: below the root, not too deep, not excluded.
    pub fn covers(&self, path: &[u8], is_dir: bool) -> bool {
        self.depth_of(path)
            .is_some_and(|depth| depth <= self.limit())
            && !self
                .exclude
                .excludes(self.relative(path).unwrap_or_default(), Some(is_dir))
    }

    /// Whether anything below the directory `path` can be covered, so that it has to be walked.
    pub fn descends_into(&self, path: &[u8]) -> bool {
        self.depth_of(path)
            .is_some_and(|depth| depth < self.limit())
            && !self
                .exclude
                .excludes(self.relative(path).unwrap_or_default(), Some(true))
    }

    /// The greatest depth that is covered.
    pub fn limit(&self) -> u32 {
        let natural = if self.recursive { u32::MAX } else { 1 };
        self.max_depth.map_or(natural, |depth| depth.min(natural))
    }

    /// `path` without the root and its slash, by components; empty for the root itself.
    pub fn relative<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let root = self.root.strip_suffix(b"/").unwrap_or(&self.root);
        match path.strip_prefix(root)? {
            [] => Some(b""),
            [b'/', below @ ..] => Some(below),
            _ => None,
        }
    }
}

/// Whether `path` is `prefix` or lies below it, by components: `/a/b` is not below `/a/bc`. The prefix of
/// the root is empty.
pub fn is_at_or_below(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// A path as such a prefix.
pub fn trim_slashes(mut path: &[u8]) -> &[u8] {
    while let Some(shorter) = path.strip_suffix(b"/") {
        path = shorter;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(root: &str, recursive: bool, max_depth: Option<u32>, exclude: &[&str]) -> Scope {
        Scope {
            root: root.into(),
            recursive,
            max_depth,
            exclude: GlobSet::parse(exclude).unwrap(),
        }
    }

    #[test]
    fn depth_counts_components() {
        let tree = scope("/mnt/a", true, None, &[]);
        for (path, depth) in [
            ("/mnt/a", Some(0)),
            ("/mnt/a/b", Some(1)),
            ("/mnt/a/b/c", Some(2)),
            ("/mnt/ab", None),
            ("/mnt", None),
            ("/", None),
        ] {
            assert_eq!(tree.depth_of(path.as_bytes()), depth, "{path}");
        }
        let root = scope("/", true, None, &[]);
        assert_eq!(
            ["/", "/a", "/a/b"].map(|path| root.depth_of(path.as_bytes())),
            [Some(0), Some(1), Some(2)]
        );
    }

    #[test]
    fn recursion_and_depth_limit_what_is_covered() {
        for (recursive, max_depth, covered) in [
            (true, None, [true, true, true]),
            (false, None, [true, true, false]),
            (true, Some(0), [true, false, false]),
            (true, Some(1), [true, true, false]),
            (true, Some(2), [true, true, true]),
            (false, Some(5), [true, true, false]),
            (false, Some(0), [true, false, false]),
        ] {
            let tree = scope("/a", recursive, max_depth, &[]);
            assert_eq!(
                ["/a", "/a/b", "/a/b/c"].map(|path| tree.covers(path.as_bytes(), false)),
                covered
            );
        }
    }

    #[test]
    fn excluded_directories_are_not_entered() {
        let tree = scope("/a", true, Some(3), &["target/", "*.swp"]);
        assert!(!tree.covers(b"/a/x/target", true));
        assert!(tree.covers(b"/a/x/target", false));
        assert!(!tree.covers(b"/a/target/debug/x", false));
        assert!(!tree.covers(b"/a/.x.swp", false));
        assert!(tree.descends_into(b"/a/x"));
        assert!(!tree.descends_into(b"/a/target"));
        assert!(!tree.descends_into(b"/a/x/y/z"));
        assert!(!tree.descends_into(b"/b"));
    }
}
