//! Which filesystems have to be marked for a set of watches, and for what: decided from values alone.

use std::os::unix::ffi::OsStrExt as _;

use crate::event::TypeSet;
use crate::fid_parser::bits;
use crate::monitored::{Reach, Watch, WatchSet};
use crate::sys::mount::Mount;

/// A filesystem that has to be marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its device number.
    pub dev: (u32, u32),
    /// The bits to ask for.
    pub mask: u64,
    /// The mounts through which it is watched, as places in the mount table.
    pub mounts: Vec<usize>,
}

/// What is to be marked, and what lies below a recursive watch and cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be marked.
    pub filesystems: Vec<Wanted>,
    /// Mount points below recursive watches whose filesystem has nothing to record.
    pub passed_over: Vec<Vec<u8>>,
    /// Other filesystems that may hold programs: to be marked for the openings of those only.
    pub programs: Vec<Wanted>,
    /// Mounts to be marked themselves, as places in the mount table, and the bits to ask for.
    pub single_mounts: Vec<(usize, u64)>,
    /// Paths of watches that are on no mount of the table.
    pub unreached: Vec<Vec<u8>>,
}

/// The bits that a kernel understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// From 5.17: RENAME says both sides and what was renamed.
    Modern,
    /// From 5.9: a rename is MOVED_FROM, MOVED_TO and MOVE_SELF.
    Legacy,
}

impl Dialect {
    /// The bits without which the tree of directories cannot be kept.
    fn upkeep(self) -> u64 {
        bits::ONDIR
            | bits::CREATE
            | bits::DELETE
            // What a process did before an exec from what it did after it.
            | bits::OPEN_EXEC
            | match self {
                Self::Modern => bits::RENAME,
                Self::Legacy => {
                    bits::MOVED_FROM | bits::MOVED_TO | bits::MOVE_SELF | bits::DELETE_SELF
                }
            }
    }

    /// The bits to ask for, so that `types` can be told.
    pub fn mask(self, types: TypeSet) -> u64 {
        let told_by_rename = match self {
            Self::Modern => bits::MOVED_FROM | bits::MOVED_TO,
            Self::Legacy => 0,
        };
        let wanted = bits::mask_of(types) & !told_by_rename;
        // What a rename replaced is told apart from what else has ended by the change of its link count.
        let before_an_end = if wanted & bits::DELETE_SELF != 0 {
            bits::ATTRIB
        } else {
            0
        };
        self.upkeep() | wanted | before_an_end
    }
}

/// Plans the marks for `watches`. Start-up, `add`, `remove` and a new mount all come here.
pub fn plan(watches: &WatchSet, mounts: &[Mount], dialect: Dialect) -> Plan {
    let visible = visible(mounts);
    let mut plan = Plan::default();
    let mut programs = Plan::default();
    for watch in watches.iter() {
        let types = watch.types_or_default();
        let mut mask = dialect.mask(types);
        let (Some(home), below) = mounts_of(watch, mounts, &visible) else {
            let path = watch.path.as_os_str().as_bytes();
            plan.unreached.push(path.to_vec());
            continue;
        };
        if watch.reach == Reach::Mount {
            // The mount says what is asked for, its filesystem only where directories are.
            let asked = bits::mask_of(types);
            plan.single_mounts.push((home, asked));
            mask = dialect.mask(TypeSet::EMPTY);
        }
        want(&mut plan, mounts, home, mask);
        for mount in below {
            if has_nothing_to_record(&mounts[mount].fstype) {
                if !plan.passed_over.contains(&mounts[mount].point) {
                    plan.passed_over.push(mounts[mount].point.clone());
                }
            } else {
                want(&mut plan, mounts, mount, mask);
            }
        }
    }
    if watches.iter().next().is_some() {
        for mount in visible {
            let Mount { dev, fstype, .. } = &mounts[mount];
            let is_watched = plan.filesystems.iter().any(|wanted| wanted.dev == *dev);
            if !is_watched && !has_nothing_to_record(fstype) && !can_hang(fstype) {
                want(&mut programs, mounts, mount, bits::OPEN_EXEC);
            }
        }
    }
    plan.programs = programs.filesystems;
    plan
}

/// The mounts that a path leads to.
pub fn visible(mounts: &[Mount]) -> Vec<usize> {
    (0..mounts.len())
        .filter(|at| mount_of(&mounts[*at].point, mounts) == Some(*at))
        .collect()
}

/// The mount that a path is on: where one arrives who goes from the root of all, at each mount point on
/// the way over to what is mounted there.
///
/// One that lies below another has the same path and is never come upon; what is mounted later at a place that a
/// private bind mount covers, as a service manager makes them, is there twice, below it and on it.
pub fn mount_of(path: &[u8], mounts: &[Mount]) -> Option<usize> {
    // A mount is on the way only if the one that it is mounted on is.
    let mut way: Vec<usize> = (0..mounts.len())
        .filter(|at| is_below(path, &mounts[*at].point))
        .collect();
    way.sort_by_key(|at| mounts[*at].point.len());
    let has = |id: i32| way.iter().any(|at| mounts[*at].id == id);
    let is_top = |mount: &Mount| mount.parent == mount.id || !has(mount.parent);
    let mut reached = way.iter().copied().find(|at| is_top(&mounts[*at]))?;
    // No way is longer than the table, whatever stands in it.
    for _ in &way {
        let on = mounts[reached].id;
        let next = |at: &usize| mounts[*at].parent == on && mounts[*at].id != on;
        match way.iter().copied().find(next) {
            Some(next) => reached = next,
            None => break,
        }
    }
    Some(reached)
}

/// The mount that a watch's path is on, and those below it that the watch covers.
fn mounts_of(watch: &Watch, mounts: &[Mount], visible: &[usize]) -> (Option<usize>, Vec<usize>) {
    let path = watch.path.as_os_str().as_bytes();
    let scope = watch.scope();
    let home = mount_of(path, mounts);
    let below = visible
        .iter()
        .copied()
        .filter(|_| watch.reach == Reach::Everything)
        .filter(|at| Some(*at) != home && scope.descends_into(&mounts[*at].point))
        .collect();
    (home, below)
}

fn want(plan: &mut Plan, mounts: &[Mount], mount: usize, mask: u64) {
    let dev = mounts[mount].dev;
    match plan.filesystems.iter_mut().find(|wanted| wanted.dev == dev) {
        Some(wanted) => {
            wanted.mask |= mask;
            if !wanted.mounts.contains(&mount) {
                wanted.mounts.push(mount);
            }
        }
        None => plan.filesystems.push(Wanted {
            dev,
            mask,
            mounts: vec![mount],
        }),
    }
}

fn is_below(path: &[u8], point: &[u8]) -> bool {
    point == b"/"
        || path
            .strip_prefix(point)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Filesystems that show the kernel's own state: nobody stores anything there.
pub(super) fn has_nothing_to_record(fstype: &str) -> bool {
    const KERNEL: [&str; 21] = [
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "efivarfs",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "nfsd",
        "nsfs",
        "proc",
        "pstore",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "sysfs",
        "tracefs",
    ];
    KERNEL.contains(&fstype)
}

/// Filesystems behind which somebody else has to answer: those that nobody watches are not touched.
fn can_hang(fstype: &str) -> bool {
    const REMOTE: [&str; 12] = [
        "9p", "afs", "ceph", "cifs", "coda", "fuse", "gfs2", "lustre", "nfs", "nfs4", "ocfs2",
        "smb3",
    ];
    REMOTE.contains(&fstype) || fstype.starts_with("fuse.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;
    use crate::monitored::WatchOptions;
    use crate::sys::mount::parse_mountinfo;
    use std::path::Path;

    const MOUNTS: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/a rw\n\
        2 1 0:5 / /proc rw - proc proc rw\n\
        3 1 8:2 / /home rw - xfs /dev/b rw\n\
        4 3 0:9 / /home/u/tmp rw - tmpfs tmpfs rw\n\
        5 1 8:1 /srv /mnt/bind rw - ext4 /dev/a rw\n\
        6 1 8:7 / /over rw - ext4 /dev/c rw\n\
        7 6 8:8 / /over rw - ext4 /dev/d rw\n";

    fn watches(of: &[(&str, bool, &[EventType])]) -> WatchSet {
        let mut set = WatchSet::default();
        for (path, recursive, types) in of {
            let types = types
                .iter()
                .map(|kind| kind.name().to_owned())
                .collect::<Vec<_>>();
            let options = WatchOptions {
                recursive: Some(*recursive),
                types: (!types.is_empty()).then_some(types),
                ..WatchOptions::default()
            };
            set.add_or_replace(
                Watch::new(
                    crate::monitored::GroupName::global(),
                    Path::new(path),
                    &options,
                )
                .unwrap(),
            );
        }
        set
    }

    fn devices(plan: &Plan) -> Vec<(u32, u32)> {
        plan.filesystems.iter().map(|wanted| wanted.dev).collect()
    }

    #[test]
    fn a_recursive_watch_takes_the_mounts_below_and_passes_over_proc() {
        let mounts = parse_mountinfo(MOUNTS);
        let all = plan(&watches(&[("/", true, &[])]), &mounts, Dialect::Modern);
        assert_eq!(devices(&all), [(8, 1), (8, 2), (0, 9), (8, 8)]);
        assert_eq!(all.passed_over, [b"/proc".to_vec()]);
        assert_eq!(
            devices(&plan(
                &watches(&[("/home", false, &[])]),
                &mounts,
                Dialect::Modern
            )),
            [(8, 2)]
        );
        assert_eq!(
            devices(&plan(
                &watches(&[("/home/u", true, &[])]),
                &mounts,
                Dialect::Modern
            )),
            [(8, 2), (0, 9)]
        );
        assert_eq!(
            devices(&plan(
                &watches(&[("/over/x", true, &[])]),
                &mounts,
                Dialect::Modern
            )),
            [(8, 8)]
        );
    }

    #[test]
    fn of_what_is_mounted_below_and_on_a_bind_mount_that_on_it_is_seen() {
        let mounts = parse_mountinfo(
            b"2 1 8:1 / / rw - ext4 /dev/a rw\n\
              3 2 8:1 /etc /etc ro - ext4 /dev/a rw\n\
              4 2 0:9 / /etc/later rw - tmpfs tmpfs rw\n\
              5 3 0:9 / /etc/later rw - tmpfs tmpfs rw\n\
              6 5 0:10 / /etc/later/deep rw - tmpfs tmpfs rw\n\
              7 4 0:11 / /etc/later/deep rw - tmpfs tmpfs rw\n",
        );
        let plan = plan(&watches(&[("/", true, &[])]), &mounts, Dialect::Modern);
        assert_eq!(devices(&plan), [(8, 1), (0, 9), (0, 10)]);
        assert_eq!(plan.filesystems[1].mounts, [3]);
        for (path, on) in [
            ("/etc/later/x", 3),
            ("/etc/later", 3),
            ("/etc/later/deep/x", 4),
            ("/etc/lat", 1),
            ("/x", 0),
        ] {
            assert_eq!(mount_of(path.as_bytes(), &mounts), Some(on), "{path}");
        }
    }

    #[test]
    fn what_no_mount_leads_to_is_told() {
        let mounts = parse_mountinfo(b"3 2 8:2 / /home rw - xfs /dev/b rw\n");
        let set = watches(&[("/home/u", true, &[]), ("/srv", true, &[])]);
        let plan = plan(&set, &mounts, Dialect::Modern);
        assert_eq!(devices(&plan), [(8, 2)]);
        assert_eq!(plan.unreached, [b"/srv".to_vec()]);
    }

    #[test]
    fn two_watches_on_one_filesystem_ask_for_the_types_of_both() {
        let mounts = parse_mountinfo(MOUNTS);
        let set = watches(&[
            ("/srv", true, &[EventType::Open]),
            ("/mnt/bind/x", true, &[EventType::Modify]),
        ]);
        let plan = plan(&set, &mounts, Dialect::Modern);
        assert_eq!(devices(&plan), [(8, 1)]);
        assert_eq!(plan.filesystems[0].mounts.len(), 2);
        for kind in [EventType::Open, EventType::Modify, EventType::Create] {
            assert_ne!(plan.filesystems[0].mask & bits::bit_of(kind), 0);
        }
        assert_eq!(
            plan.filesystems[0].mask & bits::bit_of(EventType::CloseWrite),
            0
        );
    }

    #[test]
    fn programs_are_marked_wherever_they_may_be_once_something_is_watched() {
        let mounts = parse_mountinfo(
            b"1 0 8:1 / / rw - ext4 /dev/a rw\n\
              2 1 0:5 / /proc rw - proc proc rw\n\
              3 1 8:2 / /opt rw - xfs /dev/b rw\n\
              4 1 0:9 / /mnt/far rw - nfs4 host:/x rw\n\
              5 1 0:10 / /mnt/user rw - fuse.sshfs host rw\n\
              6 1 8:2 / /mnt/opt rw - xfs /dev/b rw\n",
        );
        let programs = |set: &WatchSet| plan(set, &mounts, Dialect::Modern).programs;
        let only = programs(&watches(&[("/srv", true, &[])]));
        assert_eq!(only.len(), 1);
        assert_eq!((only[0].dev, only[0].mask), ((8, 2), bits::OPEN_EXEC));
        assert_eq!(only[0].mounts, [2, 5]);
        assert_eq!(programs(&watches(&[])), []);
        assert_eq!(programs(&watches(&[("/opt", true, &[])]))[0].dev, (8, 1));
        assert_ne!(Dialect::Modern.mask(TypeSet::EMPTY) & bits::OPEN_EXEC, 0);
    }

    #[test]
    fn an_end_is_asked_for_with_what_comes_before_it() {
        let mask = |kind| Dialect::Modern.mask(TypeSet::EMPTY.with(kind));
        assert_ne!(mask(EventType::DeleteSelf) & bits::ATTRIB, 0);
        assert_eq!(mask(EventType::Create) & bits::ATTRIB, 0);
    }

    #[test]
    fn a_rename_is_asked_for_once() {
        let modern = Dialect::Modern.mask(TypeSet::DEFAULT);
        assert_eq!(modern & (bits::MOVED_FROM | bits::MOVED_TO), 0);
        assert_ne!(modern & bits::RENAME, 0);
        assert_eq!(Dialect::Legacy.mask(TypeSet::EMPTY) & bits::RENAME, 0);
    }
}
