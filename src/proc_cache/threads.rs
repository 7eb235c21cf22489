//! The threads of a process, where they differ from it: fanotify names processes only, but a child has
//! the name and the user of the thread that made it, and who execs takes the process over.

use std::sync::Arc;

use super::process::{Process, Traits};

/// A thread that is not the first of its process.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub(super) tid: u32,
    /// Its name; that of the process where nobody told it.
    pub(super) comm: Option<Arc<str>>,
    pub(super) uid: u32,
}

impl Process {
    /// An exec leaves one thread. If the first was gone before, the one that is left did it.
    pub(super) fn end_threads(&mut self, at: usize, time: u64) {
        let left = std::mem::take(&mut self.others);
        let who = left.first().filter(|_| self.first_thread_gone);
        if let Some(uid) = who.map(|thread| thread.uid) {
            self.set_uid(at, uid, false);
        }
        // Their ends are told before the exec is, and after its program was opened.
        let until = if self.threads > 1 {
            time
        } else {
            self.threaded_until
        };
        self.versions[at].threaded_until = until;
        self.threads = 1;
        self.first_thread_gone = false;
    }

    /// A new thread, made by `maker`.
    pub(super) fn begin_thread(&mut self, tid: u32, maker: u32) {
        let made = self.thread(maker);
        self.others.push(Thread { tid, ..made });
    }

    /// A thread as far as it is known.
    pub(super) fn thread(&self, tid: u32) -> Thread {
        let known = self.others.iter().find(|thread| thread.tid == tid);
        known.cloned().unwrap_or_else(|| Thread {
            tid,
            comm: Some(Arc::clone(&self.last().comm)),
            uid: self.last().uid,
        })
    }

    /// A thread has ended.
    pub(super) fn end_thread(&mut self, time: u64, tid: u32) {
        if let Some(at) = self.others.iter().position(|thread| thread.tid == tid) {
            self.others.swap_remove(at);
            self.compare_threads(time);
        }
    }

    /// A thread gave itself a name, which is that of its children.
    pub(super) fn name_thread(&mut self, tid: u32, comm: &Arc<str>) {
        self.known_thread(tid).comm = Some(Arc::clone(comm));
    }

    fn known_thread(&mut self, tid: u32) -> &mut Thread {
        let at = self.others.iter().position(|thread| thread.tid == tid);
        let at = at.unwrap_or_else(|| {
            let thread = self.thread(tid);
            self.others.push(thread);
            self.others.len() - 1
        });
        &mut self.others[at]
    }

    /// From `time` on no event says which thread caused it, or again it does not matter.
    pub(super) fn compare_threads(&mut self, time: u64) {
        let before = self.versions[self.index_at(time)].traits;
        let differ = self.differ_from(self.versions[self.index_at(time)].uid);
        if before.has(Traits::THREADS_DIFFER) != differ {
            let at = self.insert(time);
            for version in &mut self.versions[at..] {
                version.traits.set(Traits::THREADS_DIFFER, differ);
            }
        }
    }

    fn differ_from(&self, uid: u32) -> bool {
        self.others.iter().any(|thread| thread.uid != uid)
    }

    /// Another thread changed its uid.
    pub(super) fn thread_becomes_user(&mut self, time: u64, tid: u32, uid: u32) {
        self.known_thread(tid).uid = uid;
        self.compare_threads(time);
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::tests::process;

    #[test]
    fn threads_with_different_uids_are_doubtful_until_they_agree() {
        let mut process = process();
        process.begin_thread(6, 5);
        process.begin_thread(7, 6);
        process.thread_becomes_user(20, 6, 1000);
        assert!(process.last().doubtful());
        process.thread_becomes_user(30, 6, 0);
        assert!(!process.last().doubtful());
        process.thread_becomes_user(40, 6, 1000);
        process.thread_becomes_user(41, 7, 1000);
        process.thread_becomes_user(42, 6, 0);
        assert!(process.last().doubtful(), "one is still another user");
        process.become_user(43, 9);
        assert!(process.last().doubtful());
        process.end_thread(44, 6);
        process.end_thread(45, 7);
        assert!(!process.last().doubtful());
        assert!(process.versions[process.index_at(25)].doubtful());
    }

    #[test]
    fn a_thread_that_execs_takes_its_uid_along() {
        let mut process = process();
        process.begin_thread(6, 5);
        process.begin_thread(7, 5);
        process.thread_becomes_user(20, 6, 1000);
        process.first_thread_gone = true;
        process.end_thread(30, 7);
        process.threaded_until = 30;
        process.rename(31, &"new".into(), true);
        assert_eq!(
            (process.last().uid, process.last().doubtful()),
            (1000, false)
        );
        assert_eq!(process.last().threaded_until, 30);
    }
}
