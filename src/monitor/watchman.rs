//! The policy in force: what it has to see, what it says of an event, and which hooks it calls.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};

use super::links;
use crate::event::{EventType, FileEvent, JobPlace};
use crate::filters::pattern::PathPattern;
use crate::log::alert::Note;
use crate::monitored::path::quoted;
use crate::monitored::{Audience, GroupName, Watch, WatchOptions, WatchSet};
use crate::pipeline::Doer;
use crate::policy::{Acquaintance, Alert, Ground, Judge, Mistake, Need, Policy, Rule};
use crate::sys::account::{account, effective_uid};
use crate::sys::files;

/// Where the rules stand unless somebody says otherwise.
pub const DEFAULT_POLICY: &str = "/etc/fsmon/policy.toml";

/// Stands for no rule, but for the gate, which has to know what comes and goes.
pub const FOR_THE_GATE: u16 = u16::MAX;

const COMES_AND_GOES: [EventType; 4] = [
    EventType::Create,
    EventType::MovedTo,
    EventType::MovedFrom,
    EventType::Delete,
];

/// Why a policy cannot be used.
#[derive(Debug)]
pub enum Unusable {
    /// It cannot be read, or others could have written it.
    File(anyhow::Error),
    /// It is wrong in these places.
    Mistakes(Vec<Mistake>),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(error) => write!(f, "{error:#}"),
            Self::Mistakes(mistakes) => {
                let mistakes: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
                f.write_str(&mistakes.join("; "))
            }
        }
    }
}

impl std::error::Error for Unusable {}

/// Reads a policy. Who can write it decides what is refused and what is run as root, so it has to
/// belong to root or to this user, and nobody else may be able to change it.
pub fn read_policy(path: &Path) -> Result<Policy, Unusable> {
    let text = read_safely(path)
        .with_context(|| format!("cannot read the policy {}", quoted(path)))
        .map_err(Unusable::File)?;
    Policy::parse(&text).map_err(Unusable::Mistakes)
}

fn read_safely(path: &Path) -> anyhow::Result<String> {
    let file = files::open_unwaiting(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        bail!("it is not a regular file");
    }
    check_owner(&meta, "it")?;
    if meta.mode() & 0o022 != 0 {
        bail!("others may write it (`chmod go-w` it)");
    }
    check_way(&std::path::absolute(path)?)?;
    check_way(&path.canonicalize()?)?;
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text)?;
    if text.len() as u64 == MOST_BYTES {
        bail!("it is too long to be a policy");
    }
    Ok(text)
}

/// Nobody else may be able to put another file there, by any of the directories and links on the way.
fn check_way(path: &Path) -> anyhow::Result<()> {
    for step in path.ancestors().skip(1).chain([path]) {
        let meta = step.symlink_metadata()?;
        check_owner(&meta, &format!("on the way to it, {}", quoted(step)))?;
        // In a sticky directory nobody can put another file in the place of one.
        let is_open = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
        if meta.is_dir() && is_open {
            bail!("others may write {} (`chmod go-w` that)", quoted(step));
        }
    }
    Ok(())
}

/// No policy is so long.
const MOST_BYTES: u64 = 4 << 20;

fn check_owner(meta: &std::fs::Metadata, what: &str) -> anyhow::Result<()> {
    if [0, effective_uid()].contains(&meta.uid()) {
        return Ok(());
    }
    Err(anyhow!(
        "{what} belongs to user {}, not to root",
        meta.uid()
    ))
}

fn is_away(path: &Path) -> bool {
    let looked = path.symlink_metadata();
    looked.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Rules with what they remember, and where they came from.
#[derive(Debug)]
pub struct Watchman {
    judge: Judge,
    source: Option<PathBuf>,
    /// The names of jobs and roles, so that each stands in memory once.
    names: HashMap<String, Arc<str>>,
}

impl Watchman {
    /// Begins with rules that stand in the file `source`, if they stand in one.
    pub fn new(mut policy: Policy, source: Option<PathBuf>) -> Self {
        name_users(&mut policy);
        links::follow(&mut policy);
        Self {
            judge: Judge::new(policy),
            source,
            names: HashMap::new(),
        }
    }

    /// Reads the file again; rules that stay keep what they remember. An error leaves all as it was.
    pub fn reload(&mut self) -> Result<bool, Unusable> {
        let Some(source) = &self.source else {
            return Ok(false);
        };
        let mut policy = match read_policy(source) {
            // Taken away on purpose, if nobody named it.
            Err(Unusable::File(_)) if source == Path::new(DEFAULT_POLICY) && is_away(source) => {
                Policy::default()
            }
            read => read?,
        };
        name_users(&mut policy);
        links::follow(&mut policy);
        self.names.clear();
        self.judge.replace(policy);
        Ok(true)
    }

    /// The rules and jobs in force.
    pub fn policy(&self) -> &Policy {
        self.judge.policy()
    }

    /// Which rule has this number.
    pub fn rule(&self, number: u16) -> Option<&Rule> {
        self.policy().rules.get(usize::from(number))
    }

    /// What is watched, and what has to be seen for the rules besides.
    pub fn with_needs(&self, watched: &WatchSet) -> WatchSet {
        let mut all = watched.clone();
        if self.policy().rules.is_empty() {
            return all;
        }
        let grounds: Vec<Ground> = watched.iter().map(ground).collect();
        let needs = self.policy().needs(&grounds);
        all.watches.extend(needs.iter().filter_map(watch_for));
        let guarded = self.policy().guarded();
        let bases = guarded.iter().flat_map(|guarded| &guarded.patterns);
        let mut bases: Vec<Vec<u8>> = bases.map(PathPattern::base).collect();
        bases.sort();
        bases.dedup();
        let comes_and_goes = bases.into_iter().map(|path| Need {
            rule: FOR_THE_GATE,
            path,
            recursive: true,
            max_depth: None,
            exclude: Vec::new(),
            types: COMES_AND_GOES.into_iter().collect(),
            cmds: Vec::new(),
        });
        all.watches
            .extend(comes_and_goes.filter_map(|need| watch_for(&need)));
        all
    }

    /// What is to be said of an event by one rule.
    pub fn judge(&mut self, rule: u16, event: &FileEvent, doer: &mut Doer<'_>) -> Option<Alert> {
        self.judge.judge(rule, event, doer)
    }

    /// What is to be said of a change that was found out later.
    pub fn judge_unseen(&self, event: &FileEvent) -> Vec<Alert> {
        self.judge.judge_unseen(event).collect()
    }

    /// Says in the event to which job its path belongs.
    pub fn tag(&mut self, event: &mut FileEvent) {
        let Self { judge, names, .. } = self;
        event.job = judge.policy().tag(&event.path).map(|tag| JobPlace {
            id: name(names, tag.job_id),
            role: name(names, tag.role.name()),
        });
    }

    /// What stands in the line of an alert besides the event.
    pub fn note(&self, alert: &Alert) -> Note<'_> {
        let rule = self.rule(alert.rule);
        Note {
            rule: rule.map_or_else(Default::default, |rule| rule.name.as_str().into()),
            kind: alert.kind.into(),
            reason: alert.reason.into(),
            count: alert.count,
            window_ms: alert.window_ms,
            decision: None,
        }
    }
}

/// Events name users who have a name by it, so the number of such a user stands for the name, too.
fn name_users(policy: &mut Policy) {
    for rule in &mut policy.rules {
        let numbers = rule.whom.users.iter().filter_map(|user| user.parse().ok());
        let accounts: Vec<_> = numbers.filter_map(account).collect();
        let names = accounts.into_iter().map(|account| account.name);
        rule.whom
            .users
            .extend(names.filter_map(|name| name.into_string().ok()));
    }
}

impl Acquaintance for Doer<'_> {
    fn process(&self) -> u64 {
        self.life()
    }

    fn tree(&mut self, cmds: &[String]) -> u64 {
        self.head(cmds)
    }

    fn is_in(&mut self, cmd: &str) -> bool {
        Doer::is_in(self, cmd)
    }

    fn is_ours(&mut self) -> bool {
        Doer::is_ours(self)
    }
}

fn name(names: &mut HashMap<String, Arc<str>>, text: &str) -> Arc<str> {
    if let Some(name) = names.get(text) {
        return name.clone();
    }
    let name: Arc<str> = text.into();
    names.insert(text.to_owned(), name.clone());
    name
}

fn ground(watch: &Watch) -> Ground {
    Ground {
        path: watch.path.as_os_str().as_bytes().to_vec(),
        recursive: watch.recursive,
        max_depth: watch.max_depth,
        exclude: watch.exclude.clone(),
    }
}

/// The watch that brings what a rule needs.
fn watch_for(need: &Need) -> Option<Watch> {
    let options = WatchOptions {
        recursive: Some(need.recursive),
        types: Some(
            need.types
                .iter()
                .map(|kind| kind.name().to_owned())
                .collect(),
        ),
        size: None,
        exclude: Some(need.exclude.clone()),
        max_depth: need.max_depth,
    };
    let path = Path::new(std::ffi::OsStr::from_bytes(&need.path));
    // Rules are read as text, so their paths are UTF-8 and absolute.
    let mut watch = Watch::new(GroupName::alerts(), path, &options).ok()?;
    watch.audience = Audience::Rule {
        number: need.rule,
        cmds: need.cmds.clone(),
    };
    Some(watch)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const RULE: &str = "[[rule]]\nname = \"x\"\nkind = \"canary\"\npaths = [\"/srv/**/key\"]\non = [\"deleted\"]\n";

    #[test]
    fn a_policy_that_others_could_have_written_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("policy.toml");
        fs::write(&path, RULE).unwrap();
        for (mode, dir_mode, word) in [
            (0o600, 0o700, None),
            (0o644, 0o755, None),
            (0o664, 0o755, Some("others may write it")),
            (0o602, 0o755, Some("others may write it")),
            (0o644, 0o777, Some("others may write")),
            (0o644, 0o1777, None),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            fs::set_permissions(place.path(), fs::Permissions::from_mode(dir_mode)).unwrap();
            let read = read_policy(&path).map(|policy| policy.rules.len());
            match (read, word) {
                (Ok(1), None) => {}
                (Err(error), Some(word)) => assert!(error.to_string().contains(word), "{error}"),
                (read, _) => panic!("{mode:o} {dir_mode:o}: {read:?}"),
            }
        }
        assert!(matches!(read_policy(place.path()), Err(Unusable::File(_))));
        let made = std::process::Command::new("mkfifo")
            .arg(place.path().join("fifo"))
            .status();
        assert!(made.unwrap().success());
        assert!(matches!(
            read_policy(&place.path().join("fifo")),
            Err(Unusable::File(_))
        ));
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read_policy(&link).is_ok());
        if std::os::unix::fs::lchown(&link, Some(12_345), None).is_ok() {
            let error = read_policy(&link).unwrap_err().to_string();
            assert!(error.contains("belongs to user 12345"), "{error}");
        }
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
            let error = read_policy(&path).unwrap_err().to_string();
            assert!(error.contains("belongs to user 12345"), "{error}");
        }
    }

    #[test]
    fn a_bad_file_leaves_the_rules_in_force() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("policy.toml");
        fs::write(&path, RULE).unwrap();
        let mut watchman = Watchman::new(read_policy(&path).unwrap(), Some(path.clone()));
        fs::write(&path, "[[rule]]\nname = 7\n").unwrap();
        let error = watchman.reload().unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert_eq!(watchman.policy().rules.len(), 1);
        fs::write(&path, "").unwrap();
        assert!(watchman.reload().unwrap());
        assert_eq!(watchman.policy().rules.len(), 0);
    }

    #[test]
    fn a_rule_brings_the_watch_that_it_needs() {
        let watchman = Watchman::new(Policy::parse(RULE).unwrap(), None);
        let all = watchman.with_needs(&WatchSet::default());
        let watches: Vec<_> = all.iter().collect();
        assert_eq!(watches.len(), 1);
        assert!(watches[0].recursive && watches[0].path == Path::new("/srv"));
        assert!(watches[0].group.is_alerts());
        assert!(matches!(
            watches[0].audience,
            Audience::Rule { number: 0, .. }
        ));
    }
}
