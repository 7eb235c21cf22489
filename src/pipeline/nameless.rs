//! Files without a name: O_TMPFILE. The kernel reports them under the invented name `#` and the
//! inode number, in the directory they were opened in.

use super::Pipeline;
use super::locate::Location;
use super::names_then::STATES_NAME;
use super::probe::Probe;
use super::select;
use super::window::{At, Object, Rec, Window};
use crate::fid_parser::bits;

/// Whether a record may carry an invented name; a real file can be called like that too. What is made, renamed or
/// removed has a name.
pub(super) fn is_suspect(window: &Window, rec: &Rec) -> bool {
    let unnamed = rec.mask & NAMED == 0 && matches!(rec.object, Object::File(_));
    let Some(at) = rec.at.filter(|_| unnamed) else {
        return false;
    };
    let digits = window.name(at.name).strip_prefix(b"#");
    digits.is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit))
        && !is_named_so(window, rec.object, at)
}

/// Whether another record says that an object has or had this name.
fn is_named_so(window: &Window, object: Object, name: At) -> bool {
    let Object::File(number) = object else {
        return false;
    };
    let is_it = |at: Option<At>| at.is_some_and(|at| window.is_same(at, name));
    window
        .records_of(number)
        .any(|rec| rec.mask & STATES_NAME != 0 && (is_it(rec.at) || is_it(rec.to)))
}

const NAMED: u64 = bits::CREATE | bits::RENAME | bits::DELETE | bits::ONDIR;

impl Pipeline {
    /// The real place of a file that was reported under an invented name; `None` when it has none.
    pub(super) fn real_place(&self, rec: &Rec, probe: &mut dyn Probe) -> Option<Location> {
        let (Object::File(number), Some(at)) = (rec.object, rec.at) else {
            return None;
        };
        let key = self.window.files[number as usize].key;
        let name = self.window.name(at.name);
        let known = self.names_of(number).unwrap_or_default();
        if known
            .iter()
            .any(|(dir, known)| *dir == at.dir && **known == *name)
        {
            return Some(Location::Seen(at));
        }
        let dir = select::paths_of(&self.tree, &self.mounts, at.dir)
            .into_iter()
            .next();
        let there = dir.and_then(|dir| probe.handle_at(&key, &select::joined(&dir, name)));
        if there == Some(key) {
            return Some(Location::Seen(at));
        }
        self.last_seen(number).map(|seen| seen.location)
    }
}
