//! Mounts: the table of them, and mounts that nobody else sees.
//! <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, FromRawFd, OwnedFd};

use super::{cvt, handle, statfs, statx};

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Mount id, as name_to_handle_at tells it.
    pub id: i32,
    /// Id of the mount it is mounted on.
    pub parent: i32,
    /// Device number of the filesystem (`st_dev` of its top level).
    pub dev: (u32, u32),
    /// Which directory of the filesystem is the root of this mount; empty when nobody tells.
    pub root: Vec<u8>,
    /// Where it is mounted.
    pub point: Vec<u8>,
    /// Options of this mount, such as `ro` and `noexec`.
    pub flags: String,
    /// With which others it shares what is mounted on it, in the words of the table.
    pub shares: String,
    /// Filesystem type.
    pub fstype: String,
    /// What is mounted.
    pub source: Vec<u8>,
    /// Options of the filesystem itself.
    pub options: Vec<u8>,
}

impl Mount {
    /// The value of `name=value` among the filesystem's options.
    ///
    /// Overlayfs writes `\,` for a comma in a directory's name and `\:` for a colon.
    pub fn option(&self, name: &str) -> Option<Vec<u8>> {
        let mut words = vec![Vec::new()];
        let mut bytes = self.options.iter().copied();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => words.last_mut()?.extend(bytes.next()),
                b',' => words.push(Vec::new()),
                _ => words.last_mut()?.push(byte),
            }
        }
        words.iter().find_map(|word| {
            Some(
                word.strip_prefix(name.as_bytes())?
                    .strip_prefix(b"=")?
                    .to_vec(),
            )
        })
    }
}

/// Reads the mounts that this process sees, in the order in which they lie on each other.
///
/// After a chroot to a directory that is no mount point, the table leaves out the mount that this is on. It is here, as
/// if that directory were mounted: marks and handles work through it, and what is above has no path.
pub fn mounts() -> io::Result<Vec<Mount>> {
    let mut mounts = parse_mountinfo(&std::fs::read("/proc/self/mountinfo")?);
    if !mounts.iter().any(|mount| mount.point == b"/") {
        // Without handles nothing there can be recorded.
        mounts.splice(0..0, mount_of_chroot().ok());
    }
    Ok(mounts)
}

/// The mount that the root directory of this process is on.
fn mount_of_chroot() -> io::Result<Mount> {
    let (_, id) = handle::handle_of(None, c"/")?;
    // Whoever is not in the chroot has the line, with what only that tells.
    let elsewhere = std::fs::read("/proc/1/mountinfo").unwrap_or_default();
    let told = parse_mountinfo(&elsewhere).into_iter();
    let mut told = told.filter(|mount| mount.id == id).map(|mount| Mount {
        parent: id,
        root: Vec::new(),
        point: b"/".to_vec(),
        ..mount
    });
    let top = File::open("/")?;
    let dev = statx::look(top.as_fd(), c"")?.dev;
    told.next().map_or_else(
        || {
            Ok(Mount {
                id,
                parent: id,
                dev: (libc::major(dev), libc::minor(dev)),
                root: Vec::new(),
                point: b"/".to_vec(),
                flags: String::new(),
                shares: String::new(),
                fstype: statfs::name_of(statfs::room_of(&top)?.kind),
                source: Vec::new(),
                options: Vec::new(),
            })
        },
        Ok,
    )
}

/// The table of mounts, to be asked whether it has changed.
#[derive(Debug)]
pub struct Table(File);

impl Table {
    /// Opens it; from now on changes are noticed.
    pub fn open() -> io::Result<Self> {
        File::open("/proc/self/mountinfo").map(Self)
    }

    /// Whether it has changed since the last answer.
    pub fn has_changed(&self) -> bool {
        let mut look = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLPRI,
            revents: 0,
        };
        // SAFETY: one pollfd that lives for the call, which does not wait.
        let looked = unsafe { libc::poll(&raw mut look, 1, 0) };
        looked > 0 && look.revents & libc::POLLPRI != 0
    }
}

/// Parses mountinfo; a line that does not fit is passed over.
pub fn parse_mountinfo(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|b| *b == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<i32>().ok();
    let (id, parent) = (number()?, number()?);
    let dev = std::str::from_utf8(words.next()?).ok()?;
    let (major, minor) = dev.split_once(':')?;
    let (root, point) = (unescape(words.next()?), unescape(words.next()?));
    let flags = String::from_utf8_lossy(words.next()?).into_owned();
    // Optional fields, ended by a single dash.
    let mut shares = String::new();
    loop {
        match words.next()? {
            b"-" => break,
            word => shares += &format!("{} ", String::from_utf8_lossy(word)),
        }
    }
    let fstype = String::from_utf8_lossy(words.next()?).into_owned();
    let (source, options) = (
        unescape(words.next()?),
        unescape(words.next().unwrap_or_default()),
    );
    Some(Mount {
        id,
        parent,
        dev: (major.parse().ok()?, minor.parse().ok()?),
        root,
        point,
        flags,
        shares,
        fstype,
        source,
        options,
    })
}

/// Undoes the octal escapes (`\040` for a blank) of mountinfo.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|d| byte == b'\\' && d.iter().all(|c| (b'0'..=b'7').contains(c)));
        if let Some(digits) = octal {
            out.push(
                digits
                    .iter()
                    .fold(0_u8, |n, d| n.wrapping_mul(8).wrapping_add(d - b'0')),
            );
            rest = &after[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    out
}

/// Mounts the top level (subvolume 5) of a btrfs device where no path leads to it.
///
/// A mark on a subvolume is refused with EXDEV; one on the top level sees every subvolume. The
/// mount goes away with the returned descriptor, the mark stays.
pub fn detached_btrfs_top(device: &[u8]) -> io::Result<OwnedFd> {
    let device = CString::new(device)?;
    let context = fsopen(c"btrfs")?;
    fsconfig(&context, FSCONFIG_SET_STRING, Some((c"source", &device)))?;
    fsconfig(&context, FSCONFIG_SET_STRING, Some((c"subvolid", c"5")))?;
    fsconfig(&context, FSCONFIG_CMD_CREATE, None)?;
    // SAFETY: fsmount(2) takes three integers and returns a new descriptor or -1.
    let fd =
        cvt(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just handed out this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn fsopen(fstype: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: `fstype` is NUL-terminated and outlives the call; the result is checked.
    let fd = cvt(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC) })?;
    // SAFETY: the kernel has just handed out this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn fsconfig(
    context: &OwnedFd,
    command: libc::c_uint,
    pair: Option<(&CStr, &CStr)>,
) -> io::Result<()> {
    let (key, value) = pair.map_or((std::ptr::null(), std::ptr::null()), |(k, v)| {
        (k.as_ptr(), v.as_ptr())
    });
    // SAFETY: key and value are NUL-terminated and outlive the call, or null where the command takes none.
    cvt(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            key,
            value,
            0,
        )
    })?;
    Ok(())
}

const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_escapes_and_optional_fields() {
        let text = b"36 35 98:0 /sub /mnt/a\\040b rw,noatime shared:1 master:2 - ext4 /dev/x\\134y rw,errors=continue\nnonsense\n";
        let mounts = parse_mountinfo(text);
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].point, b"/mnt/a b");
        assert_eq!(mounts[0].flags, "rw,noatime");
        assert_eq!(mounts[0].shares, "shared:1 master:2 ");
        assert_eq!(mounts[0].root, b"/sub");
        assert_eq!(mounts[0].source, b"/dev/x\\y");
        assert_eq!(mounts[0].dev, (98, 0));
        assert_eq!(mounts[0].fstype, "ext4");
    }

    #[test]
    fn options_of_overlayfs_are_unescaped() {
        let text = b"1 2 0:9 / /m rw - overlay overlay rw,lowerdir=/l\\134:x,upperdir=/u\\134,v,workdir=/w\n";
        assert_eq!(
            parse_mountinfo(text)[0].option("upperdir"),
            Some(b"/u,v".to_vec())
        );
        assert_eq!(parse_mountinfo(text)[0].option("upper"), None);
    }
}
