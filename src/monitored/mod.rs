//! What is watched: watches as values, and the store that keeps them.
#![forbid(unsafe_code)]

pub mod path;
pub mod store;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::event::{TypeSet, UnknownEventType};
use crate::filters::ParseError;
use crate::filters::glob::GlobSet;
use crate::filters::scope::Scope;
use crate::filters::size::SizeFilter;

pub use store::{BadLine, Store};

/// The name of a command group: a comm or the base name of an executable, or `_global` for every process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(String);

impl GroupName {
    const GLOBAL: &'static str = "_global";
    const ALERTS: &'static str = "_alerts";

    /// The group of every process.
    pub fn global() -> Self {
        Self(Self::GLOBAL.to_owned())
    }

    /// Not a group to be watched for: whose log holds the alerts.
    pub fn alerts() -> Self {
        Self(Self::ALERTS.to_owned())
    }

    /// Whether this is the name of the alerts.
    pub fn is_alerts(&self) -> bool {
        self.0 == Self::ALERTS
    }

    /// Whose log is asked for: a group, or the alerts.
    pub fn of_log(name: &str) -> Result<Self, InvalidWatch> {
        if name == Self::ALERTS {
            return Ok(Self::alerts());
        }
        name.parse()
    }

    /// Whether this is the group of every process.
    pub fn is_global(&self) -> bool {
        self.0 == Self::GLOBAL
    }

    /// The name as typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the group's log.
    pub fn log_file_name(&self) -> String {
        format!("{}_log.jsonl", self.0)
    }

    /// The group whose log has this name.
    pub fn from_log_file_name(name: &str) -> Option<Self> {
        name.strip_suffix("_log.jsonl")?.parse().ok()
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GroupName {
    type Err = InvalidWatch;

    fn from_str(name: &str) -> Result<Self, InvalidWatch> {
        let why = if name.is_empty() || name.len() > 200 {
            "it has to have 1 to 200 bytes"
        } else if name.contains('/') || name.chars().any(char::is_control) {
            "it must not hold '/' or control characters"
        } else if name.starts_with('.') {
            "it must not begin with '.'"
        } else if name.starts_with('_') && name != Self::GLOBAL {
            "names that begin with '_' are fsmon's own; every process is '_global'"
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(InvalidWatch::Group {
            name: name.to_owned(),
            why,
        })
    }
}

/// Why something cannot be watched as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidWatch {
    /// The group name is not one.
    Group {
        /// The name.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// The path cannot be kept.
    Path {
        /// The path.
        path: PathBuf,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A type is unknown.
    Types(UnknownEventType),
    /// The size filter or an exclude pattern cannot be read.
    Filter(ParseError),
}

impl fmt::Display for InvalidWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { name, why } => {
                write!(f, "'{}' is not a group name: {why}", name.escape_debug())
            }
            Self::Path { path, why } => write!(f, "cannot watch {}: {why}", path::quoted(path)),
            Self::Types(unknown) => unknown.fmt(f),
            Self::Filter(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InvalidWatch {}

impl From<UnknownEventType> for InvalidWatch {
    fn from(unknown: UnknownEventType) -> Self {
        Self::Types(unknown)
    }
}

impl From<ParseError> for InvalidWatch {
    fn from(error: ParseError) -> Self {
        Self::Filter(error)
    }
}

/// The settings of one watch in the words of the user, as they stand in the store and in requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchOptions {
    /// Whether everything below is watched; absent is no.
    pub recursive: Option<bool>,
    /// Names of types; absent is the default eight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// A size filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Exclude patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// How deep below the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<u32>,
}

/// Who is told of what a watch sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// The log of its group.
    #[default]
    Log,
    /// A rule, for the processes of these groups; of all when there is none.
    Rule {
        /// Which rule.
        number: u16,
        /// Names of groups.
        cmds: Vec<String>,
    },
}

/// What of all that lies below its path a watch sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Everything, on whatever is mounted there.
    #[default]
    Everything,
    /// What is on the filesystem of the path.
    Filesystem,
    /// What is done to files through the mount of the path, and not through another one. Only openings,
    /// readings, writings and closings can be seen like this.
    Mount,
}

/// A path watched for a command group. Made by [`Watch::new`], so that it is always valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// For whom.
    pub group: GroupName,
    /// Absolute and clean; UTF-8.
    pub path: PathBuf,
    /// Whether everything below is watched.
    pub recursive: bool,
    /// How deep below the path.
    pub max_depth: Option<u32>,
    /// The types asked for.
    pub types: Option<TypeSet>,
    /// The types in the words of the user, one a word.
    pub types_as_typed: Vec<String>,
    /// What size a file has to have.
    pub size: Option<SizeFilter>,
    /// Exclude patterns.
    pub exclude: Vec<String>,
    /// Who is told.
    pub audience: Audience,
    /// How far it reaches.
    pub reach: Reach,
    /// Whether only files count, and no directories.
    pub files_only: bool,
    size_as_typed: Option<String>,
    globs: GlobSet,
}

impl Watch {
    /// Validates everything that can be wrong with a watch. `path` has to be absolute.
    pub fn new(
        group: GroupName,
        path: &Path,
        options: &WatchOptions,
    ) -> Result<Self, InvalidWatch> {
        let unfit = |why| InvalidWatch::Path {
            path: path.to_owned(),
            why,
        };
        let Some(text) = path.to_str() else {
            return Err(unfit("a watched path has to be UTF-8"));
        };
        if !path.is_absolute() {
            return Err(unfit("the path is not absolute"));
        }
        if text.contains('\0') {
            return Err(unfit("the path holds a NUL"));
        }
        let typed: Vec<&str> = options
            .types
            .iter()
            .flatten()
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .collect();
        let types = if typed.is_empty() {
            None
        } else {
            Some(TypeSet::parse(&typed)?)
        };
        let types_as_typed = match types {
            Some(set) if typed.iter().any(|word| word.eq_ignore_ascii_case("all")) => {
                set.iter().map(|kind| kind.name().to_owned()).collect()
            }
            _ => typed.into_iter().map(str::to_owned).collect(),
        };
        let exclude = options.exclude.clone().unwrap_or_default();
        Ok(Self {
            group,
            path: path::clean(path),
            recursive: options.recursive.unwrap_or(false),
            max_depth: options.max_depth,
            types,
            types_as_typed,
            size: options.size.as_deref().map(str::parse).transpose()?,
            size_as_typed: options.size.clone(),
            globs: GlobSet::parse(&exclude)?,
            exclude,
            audience: Audience::Log,
            reach: Reach::Everything,
            files_only: false,
        })
    }

    /// The settings in the words of the user.
    pub fn options(&self) -> WatchOptions {
        WatchOptions {
            recursive: Some(self.recursive),
            types: self.types.map(|_| self.types_as_typed.clone()),
            size: self.size_as_typed.clone(),
            exclude: (!self.exclude.is_empty()).then(|| self.exclude.clone()),
            max_depth: self.max_depth,
        }
    }

    /// Which paths are covered.
    pub fn scope(&self) -> Scope {
        Scope {
            root: self.path.as_os_str().as_encoded_bytes().to_vec(),
            recursive: self.recursive,
            max_depth: self.max_depth,
            exclude: self.globs.clone(),
        }
    }

    /// The types asked for, or the default eight.
    pub fn types_or_default(&self) -> TypeSet {
        self.types.unwrap_or(TypeSet::DEFAULT)
    }

    fn is_at(&self, group: &GroupName, path: &Path) -> bool {
        self.group == *group && self.path == path
    }
}

/// All watches, in the order in which their groups were first added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchSet {
    /// The watches; no two have the same group and path.
    pub watches: Vec<Watch>,
}

impl WatchSet {
    /// Adds a watch in the place of one with the same group and path; says whether there was one.
    pub fn add_or_replace(&mut self, watch: Watch) -> bool {
        match self
            .watches
            .iter_mut()
            .find(|old| old.is_at(&watch.group, &watch.path))
        {
            Some(old) => {
                *old = watch;
                true
            }
            None => {
                self.watches.push(watch);
                false
            }
        }
    }

    /// The watch of that group on that path.
    pub fn find(&self, group: &GroupName, path: &Path) -> Option<&Watch> {
        self.watches.iter().find(|watch| watch.is_at(group, path))
    }

    /// Takes out one path of a group, or all of them, and returns what was taken.
    pub fn remove(&mut self, group: &GroupName, path: Option<&Path>) -> Vec<Watch> {
        self.watches
            .extract_if(.., |watch| {
                watch.group == *group && path.is_none_or(|path| watch.path == path)
            })
            .collect()
    }

    /// All watches.
    pub fn iter(&self) -> impl Iterator<Item = &Watch> {
        self.watches.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(group: &str, path: &str) -> Watch {
        Watch::new(
            group.parse().unwrap(),
            Path::new(path),
            &WatchOptions::default(),
        )
        .unwrap()
    }

    #[test]
    fn group_names_map_one_to_one_to_log_names() {
        for name in [
            "_global",
            "nginx",
            "a b",
            "we ird\"x",
            "Web Content",
            "-x",
            "ünï",
        ] {
            let group: GroupName = name.parse().unwrap();
            assert_eq!(
                GroupName::from_log_file_name(&group.log_file_name()),
                Some(group)
            );
        }
        let long = "x".repeat(201);
        for name in [
            "", "a/b", "../evil", ".hidden", "a\nb", "a\0", "_alerts", "_", "\u{85}", &long,
        ] {
            assert!(name.parse::<GroupName>().is_err(), "{name:?}");
        }
        assert!("x".repeat(200).parse::<GroupName>().is_ok());
        assert_eq!(GroupName::from_log_file_name("_log.jsonl"), None);
        assert_eq!(GroupName::from_log_file_name("journal.jsonl"), None);
    }

    #[test]
    fn every_setting_is_validated() {
        let group = GroupName::global;
        let path = Path::new("/a");
        let wrong = [
            WatchOptions {
                types: Some(vec!["BOGUS".into()]),
                ..WatchOptions::default()
            },
            WatchOptions {
                types: Some(vec!["CREATE,".into()]),
                ..WatchOptions::default()
            },
            WatchOptions {
                size: Some("zz".into()),
                ..WatchOptions::default()
            },
            WatchOptions {
                exclude: Some(vec!["[a".into()]),
                ..WatchOptions::default()
            },
        ];
        for options in wrong {
            assert!(Watch::new(group(), path, &options).is_err(), "{options:?}");
        }
        assert!(Watch::new(group(), Path::new("rel"), &WatchOptions::default()).is_err());
    }

    #[test]
    fn the_words_of_the_user_are_kept() {
        let typed = WatchOptions {
            recursive: Some(true),
            types: Some(vec!["create,Modify".into()]),
            size: Some("1mb".into()),
            exclude: Some(vec!["target/".into()]),
            max_depth: Some(3),
        };
        let watch = Watch::new(GroupName::global(), Path::new("/a/./b/../c/"), &typed).unwrap();
        assert_eq!(watch.path.as_os_str(), "/a/c");
        let kept = WatchOptions {
            types: Some(vec!["create".into(), "Modify".into()]),
            ..typed
        };
        assert_eq!(watch.options(), kept);
        assert_eq!(
            Watch::new(GroupName::global(), &watch.path, &kept).unwrap(),
            watch
        );
    }

    #[test]
    fn all_is_spelled_out() {
        let options = WatchOptions {
            types: Some(vec!["modify".into(), "All".into()]),
            ..WatchOptions::default()
        };
        let watch = Watch::new(GroupName::global(), Path::new("/a"), &options).unwrap();
        assert_eq!(watch.types, Some(TypeSet::ALL));
        assert_eq!(watch.types_as_typed.len(), 14);
    }

    #[test]
    fn a_set_has_one_watch_for_a_group_and_path() {
        let mut set = WatchSet::default();
        assert!(!set.add_or_replace(watch("_global", "/a")));
        assert!(!set.add_or_replace(watch("nginx", "/a")));
        assert!(set.add_or_replace(watch("nginx", "/a/")));
        assert!(!set.add_or_replace(watch("nginx", "/b")));
        assert_eq!(
            set.remove(&"nginx".parse().unwrap(), Some(Path::new("/b")))
                .len(),
            1
        );
        assert_eq!(set.remove(&"nginx".parse().unwrap(), None).len(), 1);
        assert_eq!(set.watches.len(), 1);
    }
}
