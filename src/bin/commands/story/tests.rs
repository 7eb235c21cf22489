use std::borrow::Cow;

use fsmon::event::Attribution;

use super::*;

/// A picture made of lines that are read like those of a log.
struct Picture {
    lines: Vec<LogLine>,
    roots: Vec<Vec<u8>>,
}

impl Picture {
    fn of(roots: &[&str]) -> Self {
        Self {
            lines: Vec::new(),
            roots: roots.iter().map(|root| root.as_bytes().to_vec()).collect(),
        }
    }

    /// Milliseconds after 2026-03-02T08:15:40Z, who as `pid cmd user`, `KIND path [other]`.
    fn add(self, millis: i64, who: &str, deed: &str) -> Self {
        self.add_with(millis, who, deed, |_| ())
    }

    fn add_with(
        mut self,
        millis: i64,
        who: &str,
        deed: &str,
        change: impl FnOnce(&mut FileEvent),
    ) -> Self {
        let who: Vec<&str> = who.split(' ').collect();
        let mut words = deed.split(' ');
        let kind: EventType = words.next().unwrap().parse().unwrap();
        let mut event = FileEvent {
            time: at(millis),
            kind,
            path: words.next().unwrap().into(),
            pid: who[0].parse().unwrap(),
            cmd: who[1].into(),
            user: who[2].into(),
            file_size: 5120,
            ppid: 4100,
            tgid: 1,
            chain: "".into(),
            exe: Some(format!("/usr/bin/{}", who[1]).into()),
            other_path: words.next().map(Into::into),
            attribution: Attribution::Exact,
            is_dir: false,
            is_adrift: false,
            job: None,
            inferred: None,
        };
        change(&mut event);
        self.lines.push(LogLine::Event(event));
        self
    }

    fn gap(mut self, millis: i64, lost: i64, cause: &'static str) -> Self {
        self.lines.push(LogLine::Gap(Gap {
            time: at(millis),
            lost,
            cause: Cow::Borrowed(cause),
            since: at(millis - 2000),
        }));
        self
    }

    fn drawn(&self, width: usize, colours: bool, exists: Option<bool>) -> String {
        let mut out = Vec::new();
        let mut story = Story::new(&mut out, Look { width, colours }, &self.roots);
        for line in &self.lines {
            story.take(line).unwrap();
        }
        story.end(exists).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn shows(&self, width: usize, exists: Option<bool>, expected: &str) {
        let drawn = self.drawn(width, false, exists);
        assert_eq!(drawn.trim_end(), expected.trim(), "\n{drawn}");
    }
}

fn at(millis: i64) -> WallTime {
    WallTime((1_772_439_340_000 + millis) * 1_000_000)
}

const CHAIN: &str = "4211|vim|alice;4100|bash|alice;901|sshd|root;1|systemd|root";

/// An editor that keeps a backup, and a removal by root half an hour later.
fn a_life() -> Picture {
    let vim = |event: &mut FileEvent| event.chain = CHAIN.into();
    Picture::of(&["/srv/www/index.html"])
        .add_with(
            127,
            "4211 vim alice",
            "MOVED_FROM /srv/www/index.html /srv/www/index.html~",
            vim,
        )
        .add_with(
            127,
            "4211 vim alice",
            "MOVED_TO /srv/www/index.html~ /srv/www/index.html",
            vim,
        )
        .add_with(127, "4211 vim alice", "MOVE_SELF /srv/www/index.html~", vim)
        .add_with(
            127,
            "4211 vim alice",
            "CREATE /srv/www/index.html",
            |event| event.file_size = 0,
        )
        .add_with(
            127,
            "4211 vim alice",
            "CLOSE_WRITE /srv/www/index.html",
            vim,
        )
        .add_with(
            4500,
            "4211 vim alice",
            "DELETE_SELF /srv/www/index.html~",
            vim,
        )
        .add_with(4500, "4211 vim alice", "DELETE /srv/www/index.html~", vim)
        .gap(
            60_000,
            312,
            "reader too slow: the memory for unread events was full",
        )
        .add(1_800_000, "5120 rm root", "ATTRIB /srv/www/index.html")
        .add(1_800_000, "5120 rm root", "DELETE_SELF /srv/www/index.html")
        .add(1_800_000, "5120 rm root", "DELETE /srv/www/index.html")
}

#[test]
fn a_life_is_told_by_day_and_by_process() {
    a_life().shows(
        120,
        Some(false),
        "
/srv/www/index.html  (times in UTC)

2026-03-02
  08:15:40.127  vim 4211 as alice, from bash 4100 < sshd 901 (root) < systemd 1
                  renamed     index.html -> index.html~
                  created     index.html
                  written     index.html, 5.0KB
  08:15:44.500    deleted     index.html~, 5.0KB
  08:16:40.000  312 events lost here since 08:16:38.000: reader too slow: the memory for unread events was full
  08:45:40.000  rm 5120 as root, from process 4100
                  deleted     index.html, 5.0KB

Deleted on 2026-03-02 at 08:45:40.000 by rm 5120 as root.",
    );
}

#[test]
fn a_narrow_terminal_shows_whole_paths_and_fewer_ancestors() {
    a_life().shows(
        60,
        None,
        "
/srv/www/index.html  (times in UTC)

2026-03-02
  08:15:40.127  vim 4211 as alice, from bash 4100 < …
                  renamed     index.html -> index.html~
                  created     index.html
                  written     index.html, 5.0KB
  08:15:44.500    deleted     index.html~, 5.0KB
  08:16:40.000  312 events lost here since 08:16:38.000:
                reader too slow: the memory for unread
                events was full
  08:45:40.000  rm 5120 as root, from process 4100
                  deleted     index.html, 5.0KB

Deleted on 2026-03-02 at 08:45:40.000 by rm 5120 as root.",
    );
    let long = Picture::of(&["/srv/www/index.html"]).add(
        0,
        "1 mv root",
        "MOVED_FROM /srv/www/index.html /home/alice/somewhere/else/entirely/index.html",
    );
    long.shows(
        60,
        None,
        "
/srv/www/index.html  (times in UTC)

2026-03-02
  08:15:40.000  mv 1 as root, from process 4100
                  moved       index.html
                              -> /home/alice/somewhere/else/entirely/index.html

Moved to /home/alice/somewhere/else/entirely/index.html on
2026-03-02 at 08:15:40.000 by mv 1 as root.",
    );
}

#[test]
fn colours_go_by_kind_and_are_left_out_when_not_wanted() {
    let drawn = a_life().drawn(120, true, None);
    for part in [
        "\x1b[1m/srv/www/index.html\x1b[0m  \x1b[2m(times in UTC)\x1b[0m\n",
        "  \x1b[2m08:15:40.127\x1b[0m  \x1b[1mvim\x1b[0m 4211 as alice\x1b[2m, from bash",
        "\x1b[36mrenamed\x1b[0m     index.html -> index.html~\n",
        "\x1b[32mcreated\x1b[0m     index.html\n",
        "\x1b[33mwritten\x1b[0m     index.html\x1b[2m, 5.0KB\x1b[0m\n",
        "\x1b[31mdeleted\x1b[0m     index.html",
        "\x1b[35m312 events lost",
    ] {
        assert!(drawn.contains(part), "{part:?} in {drawn:?}");
    }
    assert!(!a_life().drawn(120, false, None).contains('\x1b'));
}

#[test]
fn nothing_from_a_log_moves_the_cursor() {
    let picture = Picture::of(&["/d/f\x1b[2J"])
        .add_with(0, "7 x y", "CREATE /d/f\x1b[2J", |event| {
            event.cmd = "\x1b]0;x\x07".into();
            event.user = "\u{9b}2J".into();
            event.exe = Some("/opt/\x1b[1m".into());
            event.chain = "7|x|y;6|\x1b[5m|z\x08".into();
            event.path.push(0xff);
        })
        .gap(1, -1, "a\x1b[3m\nb");
    for colours in [false, true] {
        let drawn = picture.drawn(100, colours, Some(true));
        let plain = drawn.replace("\x1b[0m", "").replace("\x1b[1m", "");
        let plain = plain
            .replace("\x1b[2m", "")
            .replace("\x1b[32m", "")
            .replace("\x1b[35m", "");
        assert!(
            !plain.chars().any(|char| char.is_control() && char != '\n'),
            "{plain:?}"
        );
        assert!(plain.contains(r"f\u{1b}[2J\xff"), "{plain}");
    }
}

#[test]
fn one_rename_is_one_row_with_what_it_replaced() {
    Picture::of(&["/d/f"])
        .add(0, "9 sed al", "CREATE /d/sedX")
        .add(0, "9 sed al", "MOVED_FROM /d/sedX /d/f")
        .add(0, "9 sed al", "MOVED_TO /d/f /d/sedX")
        .add(0, "9 sed al", "ATTRIB /d/f")
        .add(0, "9 sed al", "DELETE_SELF /d/f")
        .add(0, "9 sed al", "MOVE_SELF /d/f")
        .add(0, "9 sed al", "ATTRIB /d/f")
        .add(10, "9 sed al", "ATTRIB /d/f")
        .add(5000, "9 sed al", "ATTRIB /d/f")
        .add(5000, "9 sed al", "MOVED_TO /d/f")
        .add(5001, "9 sed al", "MOVED_FROM /d/f")
        .shows(
            100,
            Some(true),
            "
/d/f  (times in UTC)

2026-03-02
  08:15:40.000  sed 9 as al, from process 4100
                  created     sedX, 5.0KB
                  renamed     sedX -> f, in place of what was there
                  attributes  f, 3 times until 08:15:45.000
                  moved here  f
                  moved away  f

Moved away on 2026-03-02 at 08:15:45.001 by sed 9 as al.
It is there again, and no log tells how it came back.",
        );
}

#[test]
fn who_is_doubtful_is_said_to_be() {
    let perhaps = |event: &mut FileEvent| event.attribution = Attribution::Ambiguous;
    let nobody = |event: &mut FileEvent| {
        event.attribution = Attribution::Unknown;
        (event.pid, event.ppid, event.exe) = (0, 0, None);
    };
    Picture::of(&["/d/f", "/e/f"])
        .add_with(0, "9 sh al", "CREATE /d/f", perhaps)
        .add_with(1, "9 sh al", "CLOSE_WRITE /d/f", nobody)
        .add_with(2, "9 node al", "ATTRIB /e/f", |event| {
            event.exe = Some("/home/al/.nvm/bin/node".into());
        })
        .gap(
            86_400_000,
            7,
            "process records lost: who did something may be unknown",
        )
        .add_with(86_400_001, "9 node al", "OPEN /d/f", nobody)
        .shows(
            80,
            Some(false),
            "
/d/f = /e/f  (times in UTC)

2026-03-02
  08:15:40.000  perhaps sh 9 as al, from process 4100
                  created     f, 5.0KB
  08:15:40.001  an unknown process
                  written     f, 5.0KB
  08:15:40.002  node 9 as al, from process 4100  (/home/al/.nvm/bin/node)
                  attributes  f

2026-03-03
  08:15:40.000  7 process records lost since 08:15:38.000: who did something may
                be unknown
  08:15:40.001  an unknown process
                  opened      f

It is there no more, and no log tells what became of it.",
        );
}

#[test]
fn a_file_is_followed_to_its_end() {
    let moved = Picture::of(&["/a/x/f"])
        .add(0, "3 mv al", "MOVED_FROM /a /b")
        .add(0, "3 mv al", "MOVED_TO /b /a")
        .add(1, "4 mv al", "MOVED_FROM /b/x/f /c")
        .add(1, "4 mv al", "MOVED_TO /c /b/x/f");
    let drawn = moved.drawn(100, false, Some(false));
    assert!(
        drawn.ends_with("\nMoved to /c on 2026-03-02 at 08:15:40.001 by mv 4 as al.\n"),
        "{drawn}"
    );
    let gone = moved.add(2, "5 rm al", "DELETE /c");
    let drawn = gone.drawn(100, false, Some(false));
    assert!(
        drawn.ends_with("\nDeleted as /c on 2026-03-02 at 08:15:40.002 by rm 5 as al.\n"),
        "{drawn}"
    );
}
