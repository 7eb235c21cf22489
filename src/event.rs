//! What happened: the fourteen event types, sets of them, and one logged event.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Nanoseconds of wall-clock time since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

/// One of the fourteen kinds of change or access that can be asked for.
///
/// The order of the variants is the order of names in `--types all`; the order in
/// which merged kernel bits are told is decided in `pipeline::expand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "each variant is the kernel's FAN_ constant of that name, see fanotify_mark(2)"
)]
pub enum EventType {
    Access,
    Modify,
    CloseWrite,
    CloseNowrite,
    Open,
    OpenExec,
    Attrib,
    Create,
    Delete,
    DeleteSelf,
    MovedFrom,
    MovedTo,
    MoveSelf,
    FsError,
}

impl EventType {
    /// All fourteen, in the order in which `all` is spelled out in the store.
    pub const ALL: [Self; 14] = [
        Self::Access,
        Self::Modify,
        Self::CloseWrite,
        Self::CloseNowrite,
        Self::Open,
        Self::OpenExec,
        Self::Attrib,
        Self::Create,
        Self::Delete,
        Self::DeleteSelf,
        Self::MovedFrom,
        Self::MovedTo,
        Self::MoveSelf,
        Self::FsError,
    ];

    /// The name as it stands in logs, the store and requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "ACCESS",
            Self::Modify => "MODIFY",
            Self::CloseWrite => "CLOSE_WRITE",
            Self::CloseNowrite => "CLOSE_NOWRITE",
            Self::Open => "OPEN",
            Self::OpenExec => "OPEN_EXEC",
            Self::Attrib => "ATTRIB",
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::DeleteSelf => "DELETE_SELF",
            Self::MovedFrom => "MOVED_FROM",
            Self::MovedTo => "MOVED_TO",
            Self::MoveSelf => "MOVE_SELF",
            Self::FsError => "FS_ERROR",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names none of the fourteen types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEventType(pub String);

impl fmt::Display for UnknownEventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not an event type (one of",
            self.0.escape_debug()
        )?;
        for kind in EventType::ALL {
            write!(f, " {kind}")?;
        }
        f.write_str(", or all)")
    }
}

impl std::error::Error for UnknownEventType {}

impl FromStr for EventType {
    type Err = UnknownEventType;

    /// Reads a name in any case.
    fn from_str(word: &str) -> Result<Self, UnknownEventType> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(word.trim()))
            .ok_or_else(|| UnknownEventType(word.to_owned()))
    }
}

/// A set of event types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TypeSet(u32);

impl TypeSet {
    /// No type at all.
    pub const EMPTY: Self = Self(0);
    /// All fourteen.
    pub const ALL: Self = Self((1 << 14) - 1);
    /// The eight that are kept when nothing else is asked for.
    pub const DEFAULT: Self = Self::EMPTY
        .with(EventType::CloseWrite)
        .with(EventType::Attrib)
        .with(EventType::Create)
        .with(EventType::Delete)
        .with(EventType::DeleteSelf)
        .with(EventType::MovedFrom)
        .with(EventType::MovedTo)
        .with(EventType::MoveSelf);

    /// The set with `kind` added.
    #[must_use]
    pub const fn with(self, kind: EventType) -> Self {
        Self(self.0 | 1 << kind as u32)
    }

    /// The types in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: EventType) -> bool {
        self.0 & 1 << kind as u32 != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members in the order of [`EventType::ALL`].
    pub fn iter(self) -> impl Iterator<Item = EventType> {
        EventType::ALL
            .into_iter()
            .filter(move |kind| self.contains(*kind))
    }

    /// Reads words such as `CREATE`, `modify,delete` or `all`, as given to `--types`.
    pub fn parse<S: AsRef<str>>(
        words: impl IntoIterator<Item = S>,
    ) -> Result<Self, UnknownEventType> {
        let mut set = Self::EMPTY;
        for list in words {
            for word in list.as_ref().split(',') {
                if word.trim().eq_ignore_ascii_case("all") {
                    set = Self::ALL;
                } else {
                    set = set.with(word.parse()?);
                }
            }
        }
        Ok(set)
    }
}

impl FromIterator<EventType> for TypeSet {
    fn from_iter<I: IntoIterator<Item = EventType>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// How sure the recorder is about the process fields of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attribution {
    /// The process as it was at the event.
    #[default]
    Exact,
    /// More than one answer was possible; the likeliest is given.
    Ambiguous,
    /// The process could not be known.
    Unknown,
}

/// One event as it is logged: everything about it, owned.
#[derive(Clone, Debug, PartialEq)]
pub struct FileEvent {
    /// Wall clock at capture.
    pub time: WallTime,
    /// What happened.
    pub kind: EventType,
    /// Absolute path at the time of the event, the exact bytes.
    pub path: Vec<u8>,
    /// The process (thread group) that did it.
    pub pid: u32,
    /// Its comm, at most 15 bytes, as it was then.
    pub cmd: Arc<str>,
    /// Name of its effective user, or the number when it has none.
    pub user: Arc<str>,
    /// Size in bytes, as the log format defines it for each type.
    pub file_size: u64,
    /// Its parent.
    pub ppid: u32,
    /// Its thread group.
    pub tgid: u32,
    /// `pid|cmd|user;...` up to pid 1, or empty.
    pub chain: Arc<str>,
    /// Path of its executable, where known.
    pub exe: Option<Arc<str>>,
    /// The other side of a rename: the old path on MOVED_TO, the new one on MOVED_FROM.
    pub other_path: Option<Vec<u8>>,
    /// How sure the process fields are.
    pub attribution: Attribution,
    /// Whether it is about a directory.
    pub is_dir: bool,
    /// A directory above was renamed at about that time, and nothing says whether before or after: the path is
    /// one of two.
    pub is_adrift: bool,
    /// In which directory of which job the path lies.
    pub job: Option<JobPlace>,
    /// Nobody saw it: that it happened, after this time and before [`FileEvent::time`], shows in what is there.
    pub inferred: Option<WallTime>,
}

/// A directory of a job, by what it is to the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPlace {
    /// Which job.
    pub id: Arc<str>,
    /// What the directory is to it.
    pub role: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_in_any_case() {
        for kind in EventType::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(kind.name().to_lowercase().parse(), Ok(kind));
        }
    }

    #[test]
    fn comma_lists_and_all_are_understood() {
        let set = TypeSet::parse(["create,Modify", "DELETE"]).unwrap();
        assert_eq!(
            set.iter().map(EventType::name).collect::<Vec<_>>(),
            ["MODIFY", "CREATE", "DELETE"]
        );
        assert_eq!(TypeSet::parse(["All"]).unwrap(), TypeSet::ALL);
        assert!(TypeSet::parse(["CREATE,BOGUS"]).is_err());
        assert!(TypeSet::parse([""]).is_err());
    }

    #[test]
    fn the_default_set_has_eight_types() {
        assert_eq!(TypeSet::DEFAULT.iter().count(), 8);
        assert!(!TypeSet::DEFAULT.contains(EventType::Modify));
    }
}
