//! Rules as values: what is looked for, for whom, and what follows.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::event::{EventType, TypeSet};
use crate::filters::pattern::PathPattern;

/// One rule. Made by [`Policy::parse`](super::Policy::parse), or from flags by the constructors here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What alerts call it; no other rule has the name.
    pub name: String,
    /// What it alerts on.
    pub trigger: Trigger,
    /// Whose events count.
    pub whom: Whom,
    /// How long repeats of an alert by the same process are silenced; the first is never late.
    pub cooldown: Duration,
    /// What is run at an alert.
    pub hook: Option<Hook>,
}

impl Rule {
    /// The cooldown of a rule that sets none.
    pub const DEFAULT_COOLDOWN: Duration = Duration::from_secs(5);

    /// Alerts when a path that matches is touched in any of the four ways.
    pub fn canary(name: impl Into<String>, patterns: Vec<PathPattern>) -> Self {
        Self::new(
            name,
            Trigger::Canary {
                patterns,
                on: Touch::ALL.to_vec(),
                deny: false,
            },
        )
    }

    /// Alerts when one process makes `count` changes within `window`, anywhere in what is watched.
    pub fn burst(name: impl Into<String>, count: NonZeroU32, window: Duration) -> Self {
        Self::new(
            name,
            Trigger::Burst {
                count,
                window,
                per: Per::Process,
                below: Vec::new(),
                types: MUTATING,
            },
        )
    }

    /// Alerts when processes of `cmds` change something that is not below one of `inside`.
    pub fn outside(name: impl Into<String>, cmds: Vec<String>, inside: Vec<Vec<u8>>) -> Self {
        let mut rule = Self::new(
            name,
            Trigger::Outside {
                inside,
                below: vec![b"/".to_vec()],
                types: MUTATING,
            },
        );
        rule.whom.cmds = cmds;
        rule
    }

    /// Alerts when processes of `cmds` open a path that matches.
    pub fn secret(name: impl Into<String>, patterns: Vec<PathPattern>, cmds: Vec<String>) -> Self {
        let mut rule = Self::new(
            name,
            Trigger::Secret {
                patterns,
                deny: false,
            },
        );
        rule.whom.cmds = cmds;
        rule
    }

    fn new(name: impl Into<String>, trigger: Trigger) -> Self {
        Self {
            name: name.into(),
            trigger,
            whom: Whom::default(),
            cooldown: Self::DEFAULT_COOLDOWN,
            hook: None,
        }
    }

    /// The word for its kind, as in policy.toml and in alerts.
    pub fn kind(&self) -> &'static str {
        match self.trigger {
            Trigger::Canary { .. } => "canary",
            Trigger::Burst { .. } => "burst",
            Trigger::Outside { .. } => "outside",
            Trigger::Secret { .. } => "secret",
        }
    }

    /// The types of events that it has to see.
    pub fn types(&self) -> TypeSet {
        match &self.trigger {
            Trigger::Canary { on, .. } => on
                .iter()
                .fold(TypeSet::EMPTY, |types, touch| types.union(touch.types())),
            Trigger::Secret { .. } => Touch::Opened.types(),
            Trigger::Burst { types, .. } | Trigger::Outside { types, .. } => *types,
        }
    }

    /// The patterns of the paths that may not be opened; `None` when nothing is refused.
    pub(super) fn refused(&self) -> Option<&[PathPattern]> {
        match &self.trigger {
            Trigger::Canary { patterns, deny, .. } | Trigger::Secret { patterns, deny } => {
                deny.then_some(patterns.as_slice())
            }
            Trigger::Burst { .. } | Trigger::Outside { .. } => None,
        }
    }
}

/// What a rule alerts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A path that matches is touched.
    Canary {
        /// Which paths; at least one.
        patterns: Vec<PathPattern>,
        /// In what ways; at least one.
        on: Vec<Touch>,
        /// Whether opens are refused as well.
        deny: bool,
    },
    /// Many changes in a short time.
    Burst {
        /// How many are too many.
        count: NonZeroU32,
        /// In how long a time; both ends belong to it.
        window: Duration,
        /// What is counted together.
        per: Per,
        /// Where; empty is everything that is watched.
        below: Vec<Vec<u8>>,
        /// Which events count.
        types: TypeSet,
    },
    /// A change elsewhere than in the allowed directories.
    Outside {
        /// The allowed directories; at least one.
        inside: Vec<Vec<u8>>,
        /// Where it is looked for; at least one.
        below: Vec<Vec<u8>>,
        /// Which events are changes.
        types: TypeSet,
    },
    /// A path that matches is opened.
    Secret {
        /// Which paths; at least one.
        patterns: Vec<PathPattern>,
        /// Whether opens are refused as well.
        deny: bool,
    },
}

/// A way in which a canary is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    /// Opened, also to be run.
    Opened,
    /// Written to, or closed after being open for writing.
    Modified,
    /// Renamed, or replaced by a rename.
    Renamed,
    /// Deleted.
    Deleted,
}

impl Touch {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Opened, Self::Modified, Self::Renamed, Self::Deleted];

    /// The word for it in policy.toml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Modified => "modified",
            Self::Renamed => "renamed",
            Self::Deleted => "deleted",
        }
    }

    /// The events that tell of it.
    pub fn types(self) -> TypeSet {
        let kinds: &[EventType] = match self {
            Self::Opened => &[EventType::Open, EventType::OpenExec],
            Self::Modified => &[EventType::Modify, EventType::CloseWrite],
            Self::Renamed => &[
                EventType::MovedFrom,
                EventType::MovedTo,
                EventType::MoveSelf,
            ],
            Self::Deleted => &[EventType::Delete, EventType::DeleteSelf],
        };
        kinds.iter().copied().collect()
    }

    /// The way that an event tells of.
    pub(super) fn of(kind: EventType) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|touch| touch.types().contains(kind))
    }
}

impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a burst rule counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Each process alone.
    Process,
    /// The topmost process of the rule's command groups with its whole descent.
    Tree,
}

/// Whose events a rule looks at. An empty list sets no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whom {
    /// Only processes in one of these command groups.
    pub cmds: Vec<String>,
    /// No process in one of these.
    pub except_cmds: Vec<String>,
    /// Only these users, as events name them. Events have a number only for users without a name, so who
    /// can look names up does well to add the name beside a number.
    pub users: Vec<String>,
}

/// What is run at an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program.
    pub run: HookCommand,
    /// As whom, a name or a number; `None` leaves it to whoever runs it.
    pub user: Option<String>,
    /// When it is ended.
    pub timeout: Duration,
}

impl Hook {
    /// The time that a hook gets when its rule sets none.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
}

/// The program of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookCommand {
    /// A program and its arguments.
    Argv(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

/// The events that count as changes when a rule does not say which.
pub const MUTATING: TypeSet = TypeSet::EMPTY
    .with(EventType::Modify)
    .with(EventType::CloseWrite)
    .with(EventType::Delete)
    .with(EventType::DeleteSelf)
    .with(EventType::MovedFrom)
    .with(EventType::MovedTo)
    .with(EventType::Create)
    .with(EventType::Attrib);
