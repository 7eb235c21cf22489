//! What the kernel can: every feature is tried, none is read off the version.

use std::env;
use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use super::{Check, Part, State, Tried, reason, tried};
use crate::fid_parser::bits;
use crate::monitor::NoFanotify;
use crate::monitor::ask::open_dir;
use crate::monitor::assembly::LEGACY_LACKS;
use crate::monitor::engine::open_group;
use crate::monitor::ways::{ENODEV, EOPNOTSUPP, EPERM, EXDEV};
use crate::sys::fanotify::{Group, MarkOn, Reporting};
use crate::sys::gatekeeper::{Gatekeeper, OPEN_PERM, Reach};
use crate::sys::handle;

/// What was tried, and how it went.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the kernel calls its version.
    pub release: String,
    /// A group that tells handles and names, within the system's limits.
    pub named: Tried,
    /// One that also tells the handles of the objects.
    pub objects: Tried,
    /// The group that the recorder opens, without limits.
    pub unlimited: Tried,
    /// A mark for renames with both sides in one record.
    pub renames: Tried,
    /// A mark for the openings of programs.
    pub programs: Tried,
    /// A mark for errors of a filesystem.
    pub errors: Tried,
    /// A permission group and a mark for it.
    pub gate: Tried,
    /// Opening a directory by its handle.
    pub handles: Tried,
}

/// Finds out what the kernel can; `legacy` as the recorder has it.
pub fn check(legacy: bool) -> Vec<Check> {
    judge(&look(legacy))
}

fn look(legacy: bool) -> Facts {
    let limited = |target_fid| Group::open_limited(Reporting { target_fid });
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // As privileged as can be: a mark on a filesystem is refused to others anyway.
    let group = || {
        open_group(legacy)
            .map(|(group, _)| group)
            .or_else(|_| limited(true))
    };
    let mark = |on, mask| tried(somewhere(|dir| group()?.add_mark(on, mask, dir.as_fd())));
    Facts {
        release: release.trim().to_owned(),
        named: tried(limited(false)),
        objects: if legacy {
            Err(EINVAL)
        } else {
            tried(limited(true))
        },
        unlimited: tried(open_group(legacy)),
        renames: mark(MarkOn::Inode, bits::RENAME | bits::ONDIR),
        programs: mark(MarkOn::Inode, bits::OPEN_EXEC),
        errors: mark(MarkOn::Filesystem, bits::FS_ERROR),
        // On a directory, without the bit for directories or for what is in it: nobody ever waits for it.
        gate: tried(somewhere(|dir| {
            let gate = Gatekeeper::open()?;
            gate.add_mark(Reach::Inode, OPEN_PERM, dir.as_fd(), c".")
        })),
        handles: tried(somewhere(|dir| {
            let (handle, _) = handle::handle_of(Some(dir.as_fd()), c"")?;
            handle::open_handle(dir.as_fd(), handle.kind, &handle.bytes)
        })),
    }
}

/// Does something with directories until one of them lies on a filesystem that takes it.
fn somewhere<T>(act: impl Fn(&File) -> io::Result<T>) -> io::Result<T> {
    let mut last = io::Error::from_raw_os_error(EOPNOTSUPP);
    let temporary = env::temp_dir();
    let candidates = ["/", "/dev/shm", "/dev", "/run"].map(PathBuf::from);
    for dir in candidates.iter().chain([&temporary]) {
        match open_dir(Path::new(dir)).and_then(|dir| act(&dir)) {
            Ok(done) => return Ok(done),
            // Overlays, FUSE and subvolumes of btrfs refuse what others take.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(ENODEV | EOPNOTSUPP | EXDEV | ENOENT | ESTALE)
                ) =>
            {
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Says what it is worth.
pub fn judge(facts: &Facts) -> Vec<Check> {
    let check = |name, state, text: String| Part::Kernel.check(name, state, text);
    let mut checks = vec![version(&facts.release)];
    if let (Err(errno), Err(_)) = (facts.named, facts.unlimited) {
        let error = NoFanotify(reason(errno));
        checks.push(with_way_out(
            check("file events", State::Missing, error.to_string()),
            &error,
        ));
        return checks;
    }
    checks.push(check(
        "file events",
        State::Ok,
        "fanotify tells directories by handle and names of what is in them".to_owned(),
    ));
    checks.push(match facts.unlimited {
        Ok(()) => check(
            "unlimited queue",
            State::Ok,
            "the queue and the marks have no limit; pids of other processes are told".to_owned(),
        ),
        Err(errno) => {
            let error = NoFanotify(reason(errno));
            let text = format!("{error}: without limits and with other processes' pids, as the daemon and `fsmon watch` open it");
            with_way_out(check("unlimited queue", State::Missing, text), &error)
        }
    });
    checks.push(match (facts.objects, facts.renames) {
        (Ok(()), Ok(())) => check(
            "renames",
            State::Ok,
            "both sides of a rename in one record, and the object itself in each record".to_owned(),
        ),
        _ => check("renames", State::Limited, LEGACY_LACKS.to_owned()),
    });
    checks.push(match facts.programs {
        Ok(()) => check(
            "programs",
            State::Ok,
            "openings of programs are told: deeds before an exec are told from those after it".to_owned(),
        ),
        Err(errno) => check(
            "programs",
            State::Missing,
            format!("openings of programs are not told ({}): what a process did just before an exec is ambiguous", reason(errno)),
        ),
    });
    checks.push(by_handle(facts.handles));
    checks.push(fs_errors(facts.errors));
    checks.push(gate(facts.gate));
    checks
}

fn version(release: &str) -> Check {
    if release.is_empty() {
        return Part::Kernel.check("version", State::Unknown, "/proc does not tell it");
    }
    let text = format!("Linux {release}; what follows was tried, not read off the version");
    Part::Kernel.check("version", State::Ok, text)
}

fn with_way_out(check: Check, error: &NoFanotify) -> Check {
    match error.hint() {
        Some(hint) => check.hint(hint),
        None => check,
    }
}

fn by_handle(tried: Tried) -> Check {
    let check = |state, text: String| Part::Kernel.check("by handle", state, text);
    match tried {
        Ok(()) => check(
            State::Ok,
            "directories and files can be opened by their handles".to_owned(),
        ),
        Err(EPERM) => check(
            State::Missing,
            "files cannot be opened by their handles: Operation not permitted".to_owned(),
        )
        .hint("it takes CAP_DAC_READ_SEARCH in the host's user namespace"),
        Err(errno) => check(
            State::Limited,
            format!(
                "no filesystem at hand opens files by their handles ({})",
                reason(errno)
            ),
        ),
    }
}

fn fs_errors(tried: Tried) -> Check {
    let check = |state, text: String| Part::Kernel.check("FS_ERROR", state, text);
    match tried {
        Ok(()) => check(State::Ok, "errors of a filesystem can be told".to_owned()),
        Err(EPERM) => check(
            State::Unknown,
            "whether errors of a filesystem can be told takes the right to mark one".to_owned(),
        ),
        Err(errno) => check(
            State::Limited,
            format!(
                "errors of a filesystem (`--types FS_ERROR`) are not told: {}; that needs 5.16",
                reason(errno)
            ),
        ),
    }
}

fn gate(tried: Tried) -> Check {
    let check = |state, text: String| Part::Kernel.check("gate", state, text);
    match tried {
        Ok(()) => check(
            State::Ok,
            "permission events: rules can refuse openings".to_owned(),
        ),
        Err(EPERM) => check(
            State::Unknown,
            "whether rules can refuse openings takes rights to find out".to_owned(),
        ),
        Err(errno) => check(
            State::Limited,
            format!(
                "rules cannot refuse openings, and `fsmon watch --gate` sees none: {}",
                reason(errno)
            ),
        )
        .hint("a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS has permission events"),
    }
}

const ENOENT: i32 = 2;
const EINVAL: i32 = 22;
const ESTALE: i32 = 116;

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            release: "6.18.0".to_owned(),
            named: Ok(()),
            objects: Ok(()),
            unlimited: Ok(()),
            renames: Ok(()),
            programs: Ok(()),
            errors: Ok(()),
            gate: Ok(()),
            handles: Ok(()),
        }
    }

    fn states(facts: &Facts) -> Vec<(&'static str, State)> {
        let told = |check: &Check| (check.name, check.state);
        judge(facts).iter().map(told).collect()
    }

    #[test]
    fn a_new_kernel_and_root_lack_nothing() {
        assert!(states(&good()).iter().all(|(_, state)| *state == State::Ok));
        assert_eq!(states(&good()).len(), 8);
    }

    #[test]
    fn an_ordinary_user_lacks_the_groups_and_not_what_cannot_be_known() {
        let facts = Facts {
            unlimited: Err(EPERM),
            errors: Err(EPERM),
            gate: Err(EPERM),
            handles: Err(EPERM),
            ..good()
        };
        let found = states(&facts);
        let of = |state| -> Vec<_> {
            let named = found.iter().filter(|(_, found)| *found == state);
            named.map(|(name, _)| *name).collect()
        };
        assert_eq!(of(State::Missing), ["unlimited queue", "by handle"]);
        assert_eq!(of(State::Unknown), ["FS_ERROR", "gate"]);
        let checks = judge(&facts);
        let hint = checks.iter().find_map(|check| check.hint.as_deref());
        assert!(hint.unwrap().contains("sudo"), "{checks:?}");
    }

    #[test]
    fn an_old_kernel_is_limited_and_one_without_fanotify_is_told_once() {
        let old = Facts {
            objects: Err(EINVAL),
            renames: Err(EINVAL),
            errors: Err(EINVAL),
            ..good()
        };
        let limited = states(&old);
        let limited: Vec<_> = limited
            .iter()
            .filter(|(_, state)| *state == State::Limited)
            .collect();
        assert_eq!(limited.len(), 2, "{limited:?}");
        let none = Facts {
            named: Err(38),
            unlimited: Err(38),
            ..good()
        };
        assert_eq!(
            states(&none),
            [("version", State::Ok), ("file events", State::Missing)]
        );
        assert!(judge(&none)[1].hint.as_ref().unwrap().contains("5.9"));
    }
}
