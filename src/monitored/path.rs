//! From what the user typed to the path that is watched.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// `typed` with `~` expanded, made absolute and cleaned of `.`, `..` and doubled slashes.
pub fn absolute(typed: &Path, home: &Path, cwd: &Path) -> PathBuf {
    clean(&cwd.join(expand_home(typed, home)))
}

/// `path` with a leading `~` replaced by `home`; `~user` is left alone.
pub fn expand_home(path: &Path, home: &Path) -> PathBuf {
    path.strip_prefix("~")
        .map_or_else(|_| path.to_owned(), |below| home.join(below))
}

/// An absolute path without `.`, `..`, doubled and trailing slashes, by its text alone.
pub fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

/// Resolves the symbolic links in the part of an absolute path that exists; the rest stays as it is.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    // As many links as the kernel follows, see path_resolution(7).
    resolve_links(path, 40)
}

fn resolve_links(path: &Path, links: u32) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) => {}
        answer => return answer,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(path.to_owned());
    };
    // A link whose target is still to come is watched where the target will be.
    match fs::read_link(path) {
        Ok(_) if links == 0 => Err(io::Error::other("too many levels of symbolic links")),
        Ok(target) => resolve_links(
            &clean(&resolve_links(parent, links - 1)?.join(target)),
            links - 1,
        ),
        Err(_) => Ok(resolve_links(parent, links)?.join(name)),
    }
}

/// Shows a path for people: in quote marks, control characters and foreign bytes escaped.
pub fn quoted(path: &Path) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "'{}'", escaped(path)))
}

/// Shows a path for people without quote marks.
pub fn escaped(path: &Path) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '\'' | '"' => write!(f, "{char}")?,
                    other => write!(f, "{}", other.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    #[test]
    fn typed_paths_become_absolute_and_clean() {
        for (typed, expected) in [
            ("/mnt/a/../c/.", "/mnt/c"),
            ("/mnt//a///", "/mnt/a"),
            ("/../..", "/"),
            ("/", "/"),
            ("rel/x", "/there/rel/x"),
            ("../x", "/x"),
            (".", "/there"),
            ("~", "/home/u"),
            ("~/x", "/home/u/x"),
            ("~other/x", "/there/~other/x"),
            ("/a/~", "/a/~"),
        ] {
            let path = absolute(Path::new(typed), Path::new("/home/u"), Path::new("/there"));
            assert_eq!(path.as_os_str(), expected, "{typed}");
        }
    }

    #[test]
    fn links_in_the_existing_part_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(base.join("real")).unwrap();
        symlink("real", base.join("link")).unwrap();
        symlink("later/deep", base.join("dangling")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        fs::write(base.join("file"), "").unwrap();
        for (path, expected) in [
            ("link", "real"),
            ("link/new/deep", "real/new/deep"),
            ("missing/x", "missing/x"),
            ("dangling", "later/deep"),
            ("dangling/x", "later/deep/x"),
            ("file/x", "file/x"),
        ] {
            assert_eq!(
                resolve(&base.join(path)).unwrap(),
                base.join(expected),
                "{path}"
            );
        }
        assert!(resolve(&base.join("loop")).is_err());
    }

    #[test]
    fn quoting_leaves_nothing_that_moves_a_cursor() {
        let path = Path::new(OsStr::from_bytes(b"/a b/\x1b[2J\n\xff'\xc2\x9b"));
        assert_eq!(quoted(path).to_string(), r"'/a b/\u{1b}[2J\n\xff'\u{9b}'");
    }
}
