//! Reads a log as strictly as its format is promised: ten keys in order, whole lines, time that never goes back.

use std::fs;
use std::path::Path;

/// Names of all types, so that a line can hold a pointer instead of a string.
const KINDS: [&str; 15] = [
    "ACCESS",
    "MODIFY",
    "CLOSE_WRITE",
    "CLOSE_NOWRITE",
    "OPEN",
    "OPEN_EXEC",
    "ATTRIB",
    "CREATE",
    "DELETE",
    "DELETE_SELF",
    "MOVED_FROM",
    "MOVED_TO",
    "MOVE_SELF",
    "FS_ERROR",
    "GAP",
];

/// Part of the names of directories that only show how far the recorder has come.
pub(crate) const MARKER: &str = "marker-of-the-test-";

/// One line of an event log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) time: String,
    pub(crate) kind: &'static str,
    /// The exact bytes.
    pub(crate) path: Vec<u8>,
    /// The exact bytes of the other side of a rename.
    pub(crate) other: Option<Vec<u8>>,
    pub(crate) pid: u32,
    pub(crate) cmd: String,
    pub(crate) user: String,
    pub(crate) size: u64,
    pub(crate) ppid: u32,
    pub(crate) tgid: u32,
    pub(crate) chain: String,
    pub(crate) exe: String,
    /// `ambiguous`, `unknown`, or empty when it is exact.
    pub(crate) attribution: String,
    pub(crate) is_dir: bool,
    /// Its path is one of two.
    pub(crate) is_adrift: bool,
    pub(crate) lost: Option<i64>,
    pub(crate) since: Option<String>,
    pub(crate) cause: Option<String>,
    /// Nobody saw it.
    pub(crate) is_inferred: bool,
}

impl Line {
    pub(crate) fn show(&self) -> String {
        let mut text = format!(
            "{} {} \"{}\"",
            &self.time,
            self.kind,
            self.path.escape_ascii()
        );
        if let Some(other) = &self.other {
            text += &format!(" <-> \"{}\"", other.escape_ascii());
        }
        if let Some(cause) = &self.cause {
            text += &format!(": {:?} lost by {cause}", self.lost);
        }
        text + &format!(" by {} '{}' of '{}'", self.pid, self.cmd, self.user)
    }
}

/// Reads the log at `path`, without the markers. Panics when it is not as promised.
pub(crate) fn read(path: &Path) -> Vec<Line> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    parse(&bytes)
}

pub(crate) fn parse(bytes: &[u8]) -> Vec<Line> {
    let text = str::from_utf8(bytes).expect("a log is valid UTF-8");
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the log ends in half a line: {:?}",
        text.lines().last()
    );
    let mut lines: Vec<Line> = Vec::new();
    let mut latest = String::new();
    for (number, row) in text.lines().enumerate() {
        let line = match one(row) {
            Ok(line) => line,
            Err(why) => panic!("line {}: {why}: {row}", number + 1),
        };
        // Whole-line parsing of each is too slow for a million lines; a sample keeps the scanner below honest.
        if number % 61 == 0 || row.contains('\\') {
            let value: Result<serde_json::Value, _> = serde_json::from_str(row);
            assert!(value.is_ok(), "line {} is not JSON: {row}", number + 1);
        }
        assert!(
            line.time >= latest,
            "time goes back from {latest} to {} in line {}",
            line.time,
            number + 1
        );
        latest.clone_from(&line.time);
        if !contains(&line.path, MARKER.as_bytes()) {
            lines.push(line);
        }
    }
    lines
}

/// Reads one line as strictly.
pub(crate) fn one(row: &str) -> Result<Line, String> {
    let mut scan = Scan { rest: row };
    let mut line = Line {
        time: scan.text("{\"time\":")?,
        ..Line::default()
    };
    if line.time.len() != 30 || !line.time.ends_with('Z') {
        return Err(format!("time is '{}'", line.time));
    }
    line.kind = kind_named(&scan.text(",\"event_type\":")?)?;
    line.path = scan.text(",\"path\":")?.into_bytes();
    line.pid = scan.number(",\"pid\":")?;
    line.cmd = scan.text(",\"cmd\":")?;
    line.user = scan.text(",\"user\":")?;
    line.size = scan.number(",\"file_size\":")?;
    line.ppid = scan.number(",\"ppid\":")?;
    line.tgid = scan.number(",\"tgid\":")?;
    line.chain = scan.text(",\"chain\":")?;
    while let Some(rest) = scan.rest.strip_prefix(",\"") {
        let (key, rest) = rest.split_once("\":").ok_or("a key without an end")?;
        scan.rest = rest;
        if key == "inferred" {
            scan.skip("true")?;
            line.is_inferred = true;
            continue;
        }
        if key == "lost" {
            line.lost = Some(scan.number("")?);
            continue;
        }
        let value = scan.text("")?;
        match key {
            "path_raw" => line.path = hex(&value)?,
            "from_raw" | "to_raw" => line.other = Some(hex(&value)?),
            "from" | "to" => line.other = line.other.or_else(|| Some(value.into_bytes())),
            "since" => line.since = Some(value),
            "cause" => line.cause = Some(value),
            "exe" => line.exe = value,
            "attribution" => line.attribution = value,
            "object" if value == "dir" => line.is_dir = true,
            "placed" if value == "ambiguous" => line.is_adrift = true,
            _ => return Err(format!("unknown key '{key}'")),
        }
    }
    if scan.rest == "}" {
        Ok(line)
    } else {
        Err(format!("unexpected '{}'", scan.rest))
    }
}

/// The type of that name.
pub(crate) fn kind_named(name: &str) -> Result<&'static str, String> {
    let known = KINDS.into_iter().find(|known| *known == name);
    known.ok_or_else(|| format!("type '{name}'"))
}

struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn skip(&mut self, lead: &str) -> Result<(), String> {
        self.rest = self
            .rest
            .strip_prefix(lead)
            .ok_or_else(|| format!("no {lead} where it must be"))?;
        Ok(())
    }

    fn number<N: std::str::FromStr>(&mut self, lead: &str) -> Result<N, String> {
        self.skip(lead)?;
        let end = self
            .rest
            .find([',', '}'])
            .ok_or("a number without an end")?;
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
            .parse()
            .map_err(|_| format!("'{digits}' is not a number here"))
    }

    fn text(&mut self, lead: &str) -> Result<String, String> {
        self.skip(lead)?;
        self.skip("\"")?;
        let bytes = self.rest.as_bytes();
        let mut end = 0;
        let mut escaped = false;
        while bytes.get(end).is_some_and(|byte| *byte != b'"') {
            let backslash = bytes[end] == b'\\';
            escaped |= backslash;
            end += 1 + usize::from(backslash);
        }
        let raw: &'a str = self.rest.get(..end).ok_or("a string without an end")?;
        self.rest = self.rest.get(end + 1..).ok_or("a string without an end")?;
        if escaped {
            serde_json::from_str(&format!("\"{raw}\"")).map_err(|error| error.to_string())
        } else {
            Ok(raw.to_owned())
        }
    }
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect::<Option<_>>()
        .ok_or_else(|| format!("'{text}' is not hex"))
}

pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
