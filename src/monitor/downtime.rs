//! What happened while nothing was recorded: a manifest of the watched trees, and what differs from it later.
//!
//! All of it is done by a thread beside the core, so that no walk delays recording. It asks the core only to
//! bring the logs up to now, and to write what was found. It sleeps when nothing happens.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

mod past;
mod rules;

use past::Past;
use rules::{Rules, place_of};

use super::core::Message;
use super::report::{Level, Reporter};
use crate::event::{EventType, FileEvent, WallTime};
use crate::log::dir::{LogDir, Owner};
use crate::log::journal::Compared;
use crate::manifest::compare::{Bounds, Found, compare};
use crate::manifest::expect::{Expected, Touched, events_from};
use crate::manifest::walk::{Walked, walk};
use crate::manifest::{Manifest, Place, Survey, Tree, file};
use crate::monitored::path::quoted;
use crate::monitored::{GroupName, Watch, WatchSet};
use crate::sys::files::as_user;
use crate::sys::{clock, memory};

/// What the thread wants of the core.
#[derive(Debug)]
pub enum Ask {
    /// To bring the logs up to now.
    Settle(SyncSender<()>),
    /// To write these lines.
    Tell(Vec<(GroupName, FileEvent)>, SyncSender<()>),
    /// To note in the journal what was compared, and what came of it.
    Note {
        /// How many lines were written.
        lines: u64,
        /// Each tree.
        compared: Vec<ComparedPlace>,
    },
    /// Nothing; the last manifest is written.
    Written,
}

/// A tree that was compared.
#[derive(Clone, Debug)]
pub struct ComparedPlace {
    root: String,
    count: u64,
    bounds: Bounds,
    is_whole: bool,
}

impl ComparedPlace {
    /// What stands of it in the journal.
    pub fn entry(&self) -> Compared<'_> {
        Compared {
            path: self.root.as_bytes(),
            count: self.count,
            since: self.bounds.since,
            until: self.bounds.until,
            is_whole: self.is_whole,
        }
    }
}

#[derive(Debug)]
enum Order {
    Follow(Vec<Watch>),
    /// Whether lines wait to be written.
    Hold(bool),
    /// Something was recorded.
    Stirred,
    /// Nothing, or not everything, was recorded between these times; `None` if it is not known since when.
    Unseen(Option<WallTime>, WallTime),
    /// The daemon ends.
    Last,
}

/// The way to the thread.
#[derive(Debug, Default)]
pub struct Keeper {
    orders: Option<Sender<Order>>,
    is_stirred: Arc<AtomicBool>,
    is_held: bool,
    watches: Vec<Watch>,
}

impl Keeper {
    /// Starts the thread.
    pub fn start(
        dir: PathBuf,
        owner: Option<Owner>,
        most: usize,
        reporter: &Arc<Reporter>,
        to_core: Sender<Message>,
    ) -> Self {
        let is_stirred = Arc::new(AtomicBool::new(false));
        let (orders, received) = channel();
        let work = Work {
            dir,
            owner,
            most,
            reporter: reporter.clone(),
            to_core,
            is_stirred: is_stirred.clone(),
            watches: Vec::new(),
            huge: BTreeSet::new(),
            told: BTreeSet::new(),
        };
        let started = std::thread::Builder::new()
            .name("manifest".to_owned())
            .spawn(move || work.run(&received));
        if let Err(error) = &started {
            let text = format!(
                "what happens while no daemon runs will not be found out, no thread could be started: {error}"
            );
            reporter.say(Level::Warning, &text);
        }
        Self {
            orders: started.is_ok().then_some(orders),
            is_stirred,
            is_held: false,
            watches: Vec::new(),
        }
    }

    /// Keeps what these watches cover from now on.
    pub fn follow(&mut self, watches: &WatchSet) {
        if self.orders.is_some() && !self.watches.iter().eq(watches.iter()) {
            self.watches = watches.watches.clone();
            self.order(Order::Follow(self.watches.clone()));
        }
    }

    /// Something was recorded: a new manifest is needed some time.
    pub fn stir(&mut self) {
        if self.orders.is_some() && !self.is_stirred.load(Ordering::Relaxed) {
            self.is_stirred.store(true, Ordering::Relaxed);
            self.order(Order::Stirred);
        }
    }

    /// Says whether lines wait to be written: a manifest of meanwhile would hide what they tell, should they be lost.
    pub fn hold(&mut self, is_held: bool) {
        if self.is_held != is_held {
            self.is_held = is_held;
            self.order(Order::Hold(is_held));
        }
    }

    /// Something may have happened unseen from `since` until `until`.
    pub fn unseen(&mut self, since: Option<WallTime>, until: WallTime) {
        self.order(Order::Unseen(since, until));
    }

    /// Asks for the last manifest; says whether there will be an answer.
    pub fn last(&mut self) -> bool {
        self.order(Order::Last);
        self.orders.is_some()
    }

    fn order(&mut self, order: Order) {
        if let Some(orders) = &self.orders
            && orders.send(order).is_err()
        {
            self.orders = None;
        }
    }
}

struct Work {
    dir: PathBuf,
    owner: Option<Owner>,
    most: usize,
    reporter: Arc<Reporter>,
    to_core: Sender<Message>,
    is_stirred: Arc<AtomicBool>,
    watches: Vec<Watch>,
    /// Trees with too many objects.
    huge: BTreeSet<Place>,
    /// Those of which that was said.
    told: BTreeSet<Place>,
}

/// The core has ended.
struct Gone;

impl Work {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut due: Option<Instant> = None;
        let mut has_begun = false;
        let (mut is_held, mut is_late) = (false, false);
        let mut unseen: Option<(Option<WallTime>, WallTime)> = None;
        // Losses may go on and on, and must not keep a CPU at walking.
        let mut rested = Instant::now();
        loop {
            let order = match due {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match order {
                Ok(Order::Follow(watches)) => {
                    self.watches = watches;
                    self.huge.clear();
                    due.get_or_insert_with(|| Instant::now() + EVERY);
                }
                Ok(Order::Hold(held)) => {
                    is_held = held;
                    if !held && std::mem::take(&mut is_late) {
                        due.get_or_insert_with(|| Instant::now() + CALM);
                    }
                }
                Ok(Order::Stirred) => {
                    due.get_or_insert_with(|| Instant::now() + EVERY);
                }
                Ok(Order::Unseen(since, until)) => {
                    let is_first = !std::mem::replace(&mut has_begun, true);
                    let (before, last) = unseen.unwrap_or((since, until));
                    unseen = Some((earlier(before, since), last.max(until)));
                    // A flood has to be over first; a start is.
                    let calm = if is_first { Duration::ZERO } else { CALM };
                    due = Some((Instant::now() + calm).max(rested));
                }
                Err(RecvTimeoutError::Timeout) if is_held => {
                    due = None;
                    is_late = true;
                }
                Err(RecvTimeoutError::Timeout) => {
                    due = None;
                    let began = Instant::now();
                    if self.look(unseen.take()).is_err() {
                        return;
                    }
                    rested = Instant::now() + began.elapsed() * REST;
                }
                Ok(Order::Last) => {
                    if self.look(unseen.take()).is_err()
                        || self.to_core.send(Message::Downtime(Ask::Written)).is_err()
                    {
                        return;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Makes a new manifest, after telling what differs from the old one without having been seen.
    fn look(&mut self, unseen: Option<(Option<WallTime>, WallTime)>) -> Result<(), Gone> {
        self.is_stirred.store(false, Ordering::Relaxed);
        let mut new = self.survey();
        if let Some((Some(since), until)) = unseen
            && let Some(old) = self.read()
        {
            self.compare(old, &new, since, until)?;
            new.told = WallTime(clock::realtime());
        }
        if let Err(error) = as_user(self.owner, || self.write(&new)) {
            let text = format!(
                "cannot write '{}': {error}; what happens while no daemon runs is found out with less certainty",
                self.dir.join(file::FILE_NAME).display()
            );
            self.reporter
                .say_folded(Level::Warning, "manifest", &text.escape_debug().to_string());
        }
        drop(new);
        memory::give_back();
        Ok(())
    }

    fn survey(&mut self) -> Manifest {
        let from = WallTime(clock::realtime());
        let skip = fs::metadata(&self.dir).ok();
        let skip = skip.map(|dir| (dir.dev(), dir.ino()));
        let mut places: Vec<Place> = self.watches.iter().filter_map(place_of).collect();
        places.sort();
        places.dedup();
        let (mut tree, mut surveys) = (Tree::new(), Vec::new());
        for place in places {
            if self.huge.contains(&place) {
                continue;
            }
            let room = self.most.saturating_sub(tree.len());
            match walk(&place, room, skip, &mut tree) {
                Ok(Walked::Whole { fsid, closed }) => {
                    self.say_closed(&place, closed);
                    surveys.push(Survey { place, fsid });
                }
                Ok(Walked::TooMuch) => {
                    if self.told.insert(place.clone()) {
                        self.say_too_much(&place, room);
                    }
                    self.huge.insert(place);
                }
                Err(error) => {
                    let text = format!(
                        "cannot look at {}: {error}; what happens there while no daemon runs will not be found out",
                        quoted(place.root.as_ref())
                    );
                    self.reporter.say_folded(Level::Info, &place.root, &text);
                }
            }
        }
        Manifest {
            from,
            until: WallTime(clock::realtime()),
            told: from,
            surveys,
            tree,
        }
    }

    fn say_too_much(&self, place: &Place, room: usize) {
        let rest = if room < self.most {
            format!("{room} of the {} objects that may be kept", self.most)
        } else {
            format!("{room} objects")
        };
        let text = format!(
            "{} holds more than {rest}: what happens there while no daemon runs will not be found out ([capture] manifest in fsmon.toml sets how many may be kept)",
            quoted(place.root.as_ref())
        );
        self.reporter.say(Level::Info, &text);
    }

    fn say_closed(&self, place: &Place, closed: Option<(PathBuf, io::Error)>) {
        if let Some((path, error)) = closed {
            let text = format!(
                "cannot look at {}: {error}; what happens there while no daemon runs will not be found out",
                quoted(&path)
            );
            self.reporter.say_folded(Level::Info, &place.root, &text);
        }
    }

    fn read(&self) -> Option<Manifest> {
        let read = as_user(self.owner, || {
            let file = LogDir::open(&self.dir)?.open_log(file::FILE_NAME)?;
            file.map(|file| file::read(BufReader::new(file), self.most))
                .transpose()
        });
        match read {
            Ok(None) => None,
            Ok(Some(Some(manifest))) => Some(manifest),
            Ok(Some(None)) => {
                let text = "the file 'manifest' beside the logs cannot be read and is made anew: what happened while no daemon ran is not found out this time";
                self.reporter.say(Level::Info, text);
                None
            }
            Err(error) => {
                let text = format!("cannot read the file 'manifest' beside the logs: {error}");
                self.reporter.say(Level::Warning, &text);
                None
            }
        }
    }

    fn write(&self, manifest: &Manifest) -> io::Result<()> {
        let dir = LogDir::open_or_make(&self.dir, self.owner)?;
        match dir.unlink(TEMPORARY) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = dir.create_private(TEMPORARY)?;
        file::write(manifest, &mut BufWriter::new(file))?;
        dir.rename(TEMPORARY, file::FILE_NAME)
    }

    fn compare(
        &self,
        old: Manifest,
        new: &Manifest,
        since: WallTime,
        until: WallTime,
    ) -> Result<(), Gone> {
        self.ask(Ask::Settle)?;
        let same = |survey: &Survey| {
            let now = new.surveys.iter().find(|now| now.place == survey.place);
            now.is_some_and(|now| now.fsid == survey.fsid)
        };
        let places: Vec<Place> = old
            .surveys
            .iter()
            .filter(|survey| same(survey))
            .map(|survey| survey.place.clone())
            .collect();
        if places.is_empty() {
            return Ok(());
        }
        let rules = Rules::new(&self.watches, &places);
        let found = as_user(self.owner, || {
            self.find(old, new, (since, until), &places, &rules)
        });
        let outcome = match found {
            Ok(outcome) => outcome,
            Err(error) => {
                let text = format!(
                    "cannot find out what happened while nothing was recorded: the logs cannot be gone through: {error}"
                );
                self.reporter.say(Level::Warning, &text);
                return Ok(());
            }
        };
        let lines = self.tell(&outcome.found, &rules)?;
        let compared = places.iter().filter_map(|place| outcome.about(place));
        let note = Ask::Note {
            lines,
            compared: compared.collect(),
        };
        self.to_core.send(Message::Downtime(note)).map_err(|_| Gone)
    }

    fn find(
        &self,
        old: Manifest,
        new: &Manifest,
        (since, until): (WallTime, WallTime),
        places: &[Place],
        rules: &Rules,
    ) -> io::Result<Difference> {
        let scopes = places.iter().filter_map(|place| place.scope().ok());
        let is_plain = places.iter().all(Place::is_plain);
        let dir = LogDir::open(&self.dir)?;
        let past = Past::read(&dir, old.from)?;
        let bounds = Bounds {
            manifest: old.from,
            since: past.since.map_or(since, |first| first.min(since)),
            until,
        };
        let from = WallTime(old.from.0.saturating_sub(past.back));
        let mut expected = Expected::new(old, scopes.collect(), is_plain);
        let mut touched = Touched::default();
        events_from(&dir, from, |event| {
            if event.time < new.from {
                expected.take(event);
            } else {
                touched.take(event);
            }
            // They tell of more than a walk may find.
            expected.tree.len() <= self.most && touched.count() <= self.most
        })?;
        if expected.tree.len().max(touched.count()) > self.most {
            let text = format!("they tell of more than {} objects at once", self.most);
            return Err(io::Error::other(text));
        }
        let is_whole = past.is_whole && !past.is_short;
        let is_exact = |path: &[u8], is_dir| is_whole && rules.is_exact(path, is_dir);
        let mut found = compare(&expected, &new.tree, &touched, bounds, &is_exact, is_plain);
        if !past.is_whole {
            // What the missing lines tell of may have gone then.
            found.retain(|found| !matches!(found.kind, EventType::Delete | EventType::MovedTo));
        }
        Ok(Difference {
            found,
            bounds,
            is_whole,
        })
    }

    /// Has the core write what was found, a few lines at a time; says how many.
    fn tell(&self, found: &[Found], rules: &Rules) -> Result<u64, Gone> {
        let mut count = 0;
        for some in found.chunks(CHUNK) {
            let now = WallTime(clock::realtime());
            let mut events = Vec::new();
            for found in some {
                rules.events(found, now, &mut events);
            }
            count += events.len() as u64;
            if !events.is_empty() {
                self.ask(|reply| Ask::Tell(events, reply))?;
            }
        }
        Ok(count)
    }

    /// Asks the core for something, and waits until it is done.
    fn ask(&self, ask: impl FnOnce(SyncSender<()>) -> Ask) -> Result<(), Gone> {
        let (reply, done) = sync_channel(1);
        let sent = self.to_core.send(Message::Downtime(ask(reply)));
        sent.map_err(|_| Gone)?;
        done.recv().map_err(|_| Gone)
    }
}

/// What a comparison came to.
struct Difference {
    found: Vec<Found>,
    bounds: Bounds,
    is_whole: bool,
}

impl Difference {
    fn about(&self, place: &Place) -> Option<ComparedPlace> {
        let scope = place.scope().ok()?;
        let is_there = |found: &&Found| {
            let mut names = [Some(&found.path), found.from.as_ref()]
                .into_iter()
                .flatten();
            names.any(|name| scope.covers(name, found.is_dir))
        };
        Some(ComparedPlace {
            root: place.root.clone(),
            count: self.found.iter().filter(is_there).count() as u64,
            bounds: self.bounds,
            is_whole: self.is_whole,
        })
    }
}

fn earlier(one: Option<WallTime>, other: Option<WallTime>) -> Option<WallTime> {
    one.into_iter().chain(other).min()
}

/// How long after the first event a new manifest is made.
const EVERY: Duration = Duration::from_mins(5);
/// How long nothing more may be lost before it is looked at what was.
const CALM: Duration = Duration::from_millis(500);
/// How many times as long as the last look took there is none after it.
const REST: u32 = 20;
/// So much is found in one go before the core gets its turn for other things.
const CHUNK: usize = 500;
const TEMPORARY: &str = "manifest.new";
