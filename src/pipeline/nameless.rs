//! Files without a name: O_TMPFILE. The kernel reports them under the invented name `#` and the
//! inode number, in the directory they were opened in.

use super::Pipeline;
use super::locate::Location;
use super::probe::Probe;
use super::select;
use super::window::{Object, Rec, Window};
use crate::fid_parser::bits;

/// Whether a record may carry an invented name; a real file can be called like that too. What is made, renamed or
/// removed has a name.
pub(super) fn is_suspect(window: &Window, rec: &Rec) -> bool {
    let unnamed = rec.mask & NAMED == 0 && matches!(rec.object, Object::File(_));
    let name = rec.at.filter(|_| unnamed).map(|at| window.name(at.name));
    name.and_then(|name| name.strip_prefix(b"#"))
        .is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit))
}

const NAMED: u64 = bits::CREATE | bits::RENAME | bits::DELETE | bits::ONDIR;

impl Pipeline {
    /// The real place of a file that was reported under an invented name; `None` when it has none.
    pub(super) fn real_place(&self, rec: &Rec, probe: &mut dyn Probe) -> Option<Location> {
        let (Object::File(number), Some(at)) = (rec.object, rec.at) else {
            return None;
        };
        let key = self.window.files[number as usize].key;
        if let Some(seen) = self.last_seen(number) {
            return Some(seen.location);
        }
        let dir = select::paths_of(&self.tree, &self.mounts, at.dir)
            .into_iter()
            .next()?;
        let there = probe.handle_at(&key, &select::joined(&dir, self.window.name(at.name)));
        (there == Some(key)).then(|| Location::Seen(at))
    }
}
