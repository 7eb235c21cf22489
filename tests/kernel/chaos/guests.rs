//! Filesystems that come below a watched path while it is recorded, and go again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fsmon::sys::clock;

use crate::ground::sh;
use crate::lines::MARKER;

use super::chronicle::{Chronicle, Fault, Span};
use super::conductor::SECOND;
use super::stage::{Stage, open_to_all};

/// A filesystem that is there for a while.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) point: PathBuf,
    pub(crate) life: Option<usize>,
    image: Option<PathBuf>,
    since: u64,
    /// Which entry of the chronicle says how long nobody can know whether it was noticed.
    unsure: usize,
    is_seen: bool,
    probes: usize,
    number: usize,
}

/// How long it is tried to be seen.
const PATIENCE: u64 = 6 * SECOND;

impl Guest {
    pub(crate) fn arrives(stage: &mut Stage, root: usize, number: usize, is_loop: bool) -> Self {
        let point = stage.roots[root].inside.join(format!("guest{number}"));
        fs::create_dir(&point).unwrap();
        let since = clock::monotonic();
        let image = is_loop.then(|| stage.ground.dir.join(format!("guest{number}.img")));
        match &image {
            Some(image) => {
                sh(&["cp", "--sparse=always"], &[&stage.image, image]);
                sh(&["mount", "-o", "loop"], &[image, &point]);
            }
            None => sh(&["mount", "-t", "tmpfs", "fsmon-test"], &[&point]),
        }
        open_to_all(&point);
        let span = Span {
            from: since,
            to: u64::MAX,
        };
        stage.chronicle.unsure.push((point.clone(), span));
        Self {
            point,
            life: None,
            image,
            since,
            unsure: stage.chronicle.unsure.len() - 1,
            is_seen: false,
            probes: 0,
            number,
        }
    }

    /// It is known to be recorded from `since` on.
    pub(crate) fn is_known(&mut self, since: u64, chronicle: &mut Chronicle) {
        if !self.is_seen {
            self.is_seen = true;
            chronicle.unsure[self.unsure].1.to = since;
        }
    }

    /// Whether it is time for somebody to work on it.
    pub(crate) fn is_to_be_worked_on(&mut self, stage: &mut Stage) -> bool {
        if self.life.is_some() || clock::monotonic() > self.since + PATIENCE {
            return false;
        }
        if !self.is_seen {
            let marker = |probe| format!("{MARKER}{}-{probe}-", self.number);
            let told = (0..self.probes).any(|probe| {
                let marker = marker(probe);
                stage.logs[0].newest().any(|log| ends_with(log, &marker))
            });
            if told {
                self.is_known(clock::monotonic(), &mut stage.chronicle);
            } else {
                fs::create_dir(self.point.join(marker(self.probes))).unwrap();
                self.probes += 1;
            }
        }
        self.is_seen
    }

    /// Takes it down when nobody works on it any more; whether it has gone.
    pub(crate) fn leaves(&mut self, stage: &mut Stage) -> bool {
        let is_over = match self.life {
            Some(life) => {
                stage.look_after();
                stage.lives[life].child.is_none()
            }
            None => clock::monotonic() > self.since + PATIENCE,
        };
        if !is_over {
            return false;
        }
        let done = Command::new("umount").arg(&self.point).output().unwrap();
        if !done.status.success() {
            // Somebody looks into it just now.
            return false;
        }
        fs::remove_dir(&self.point).unwrap();
        if let Some(image) = &self.image {
            fs::remove_file(image).unwrap();
        }
        stage.chronicle.note(Fault::Mounted, self.since);
        true
    }
}

/// Whether `text` stands in the last part of the file.
fn ends_with(log: &Path, text: &str) -> bool {
    use std::os::unix::fs::FileExt as _;
    let Ok(file) = fs::File::open(log) else {
        return false;
    };
    let len = file.metadata().unwrap().len();
    let mut tail = vec![0; 1 << 19];
    let from = len.saturating_sub(tail.len() as u64);
    let count = file.read_at(&mut tail, from).unwrap_or(0);
    memchr::memmem::find(&tail[..count], text.as_bytes()).is_some()
}
