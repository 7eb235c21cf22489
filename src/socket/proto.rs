//! Requests and replies, and their TOML form.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::health::Health;
use crate::monitored::{Watch, WatchOptions};

/// The longest request that is read.
pub const REQUEST_LIMIT: usize = 64 * 1024;

/// What a client asks. Unknown keys are ignored, absent ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Request {
    /// `add`, `remove`, `list`, `health`, `subscribe` or `cleaned`.
    pub cmd: String,
    /// The watched path.
    pub path: Option<String>,
    /// See [`WatchOptions`].
    pub recursive: Option<bool>,
    /// See [`WatchOptions`].
    pub types: Option<Vec<String>>,
    /// See [`WatchOptions`].
    pub size: Option<String>,
    /// See [`WatchOptions`].
    pub exclude: Option<Vec<String>>,
    /// See [`WatchOptions`].
    pub max_depth: Option<u32>,
    /// The command group; absent is `_global`.
    pub track_cmd: Option<String>,
    /// For `subscribe`: whose logs; absent are all but the alerts.
    pub groups: Option<Vec<String>>,
    /// For `subscribe`: only at or below these paths.
    pub paths: Option<Vec<String>>,
    /// For `cleaned`: how many lines went from the log of the group.
    pub deleted: Option<u64>,
    /// For `cleaned`: the size of the log before, in bytes.
    pub before: Option<u64>,
    /// For `cleaned`: its size after.
    pub after: Option<u64>,
}

impl Request {
    /// Asks to watch, or to replace the watch of that group on that path.
    pub fn add(watch: &Watch) -> Self {
        let WatchOptions {
            recursive,
            types,
            size,
            exclude,
            max_depth,
        } = watch.options();
        Self {
            cmd: "add".to_owned(),
            path: Some(watch.path.to_string_lossy().into_owned()),
            recursive,
            types,
            size,
            exclude,
            max_depth,
            track_cmd: Some(watch.group.to_string()),
            ..Self::default()
        }
    }

    /// Asks to stop watching a path for a group, or without a path all of the group.
    pub fn remove(group: &str, path: Option<&str>) -> Self {
        Self {
            cmd: "remove".to_owned(),
            path: path.map(str::to_owned),
            track_cmd: Some(group.to_owned()),
            ..Self::default()
        }
    }

    /// Asks what is watched.
    pub fn list() -> Self {
        Self {
            cmd: "list".to_owned(),
            ..Self::default()
        }
    }

    /// Asks for live lines. The connection then carries them, one JSON object a line.
    pub fn subscribe(
        groups: Option<Vec<String>>,
        paths: Option<Vec<String>>,
        types: Option<Vec<String>>,
    ) -> Self {
        Self {
            cmd: "subscribe".to_owned(),
            groups,
            paths,
            types,
            ..Self::default()
        }
    }

    /// Asks how the daemon is.
    pub fn health() -> Self {
        Self {
            cmd: "health".to_owned(),
            ..Self::default()
        }
    }

    /// Says that lines were trimmed from the log of a group, so that the journal can tell.
    pub fn cleaned(group: &str, deleted: u64, before: u64, after: u64) -> Self {
        Self {
            cmd: "cleaned".to_owned(),
            track_cmd: Some(group.to_owned()),
            deleted: Some(deleted),
            before: Some(before),
            after: Some(after),
            ..Self::default()
        }
    }

    /// The settings in the request.
    pub fn options(&self) -> WatchOptions {
        WatchOptions {
            recursive: self.recursive,
            types: self.types.clone(),
            size: self.size.clone(),
            exclude: self.exclude.clone(),
            max_depth: self.max_depth,
        }
    }

    /// Reads a request; the error is in words for the client.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| format!("Invalid command: {error}"))
    }

    /// Writes the document without the empty line that ends it.
    ///
    /// By hand, because the serializer puts a string with newlines on several lines, and an empty
    /// one among them would end the request.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                writeln!(text, "{key} = {value}").expect("a String takes every write");
            }
        };
        put("cmd", Some(quote(&self.cmd)));
        put("path", self.path.as_deref().map(quote));
        put("recursive", self.recursive.map(|on| on.to_string()));
        put("types", self.types.as_deref().map(quote_all));
        put("size", self.size.as_deref().map(quote));
        put("exclude", self.exclude.as_deref().map(quote_all));
        put("max_depth", self.max_depth.map(|depth| depth.to_string()));
        put("track_cmd", self.track_cmd.as_deref().map(quote));
        put("groups", self.groups.as_deref().map(quote_all));
        put("paths", self.paths.as_deref().map(quote_all));
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        put("deleted", number(self.deleted));
        put("before", number(self.before));
        put("after", number(self.after));
        text
    }
}

fn quote_all(words: &[String]) -> String {
    format!(
        "[{}]",
        words
            .iter()
            .map(|word| quote(word))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

/// A TOML basic string on one line: <https://toml.io/en/v1.0.0#string>
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\0'..' ' | '\x7f' => {
                write!(quoted, "\\u{:04X}", u32::from(char)).expect("a String takes every write");
            }
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// How the answer begins when what should cease to be watched is not watched, before a colon and its name.
pub const NO_SUCH_PATH: &str = "Path not found";
/// The same for a command.
pub const NO_SUCH_GROUP: &str = "Cmd group not found";

/// Whether a refusal will still be one when asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// It will never work.
    Permanent,
    /// It may work later.
    Transient,
}

/// What the daemon answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether asking again can help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<ErrorKind>,
    /// What is watched, in a reply to `list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<ListedWatch>>,
    /// How the daemon is, in a reply to `health`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Box<Health>>,
}

impl Reply {
    /// It was done.
    pub fn done() -> Self {
        Self {
            ok: true,
            ..Self::default()
        }
    }

    /// What is watched, also what does not exist yet.
    pub fn list<'a>(watches: impl IntoIterator<Item = &'a Watch>) -> Self {
        Self {
            paths: Some(watches.into_iter().map(ListedWatch::from).collect()),
            ..Self::done()
        }
    }

    /// How the daemon is.
    pub fn health(health: Health) -> Self {
        Self {
            health: Some(Box::new(health)),
            ..Self::done()
        }
    }

    /// It was not done.
    pub fn refused(error: impl Into<String>, error_kind: Option<ErrorKind>) -> Self {
        Self {
            ok: false,
            error: Some(error.into()),
            error_kind,
            paths: None,
            health: None,
        }
    }

    /// Reads a reply.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Writes the document and the newline that ends it.
    pub fn to_toml(&self) -> String {
        let mut text =
            toml::to_string(self).expect("strings, bools and numbers always have a TOML form");
        text.push('\n');
        text
    }
}

/// A watch in a reply to `list`: types in capitals, the size as it was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedWatch {
    /// The command group.
    pub cmd: String,
    /// The watched path.
    pub path: String,
    /// Whether everything below is watched.
    pub recursive: bool,
    /// Absent: the default eight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// The size filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Exclude patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// How deep below the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<u32>,
}

impl From<&Watch> for ListedWatch {
    fn from(watch: &Watch) -> Self {
        Self {
            cmd: watch.group.to_string(),
            path: watch.path.to_string_lossy().into_owned(),
            recursive: watch.recursive,
            types: watch
                .types
                .map(|set| set.iter().map(|kind| kind.name().to_owned()).collect()),
            size: watch.size.map(|size| size.to_string()),
            exclude: watch.options().exclude,
            max_depth: watch.max_depth,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn watch(group: &str, path: &str, options: &WatchOptions) -> Watch {
        Watch::new(group.parse().unwrap(), Path::new(path), options).unwrap()
    }

    #[test]
    fn requests_have_the_bytes_of_0_3() {
        let options = WatchOptions {
            recursive: Some(true),
            types: Some(vec!["CREATE".into(), "DELETE".into()]),
            size: Some(">=0".into()),
            ..WatchOptions::default()
        };
        assert_eq!(
            Request::add(&watch("_global", "/mnt/a", &options)).to_toml(),
            "cmd = \"add\"\npath = \"/mnt/a\"\nrecursive = true\ntypes = [\"CREATE\", \"DELETE\"]\n\
             size = \">=0\"\ntrack_cmd = \"_global\"\n"
        );
        assert_eq!(
            Request::remove("_global", Some("/mnt/a")).to_toml(),
            "cmd = \"remove\"\npath = \"/mnt/a\"\ntrack_cmd = \"_global\"\n"
        );
    }

    #[test]
    fn every_path_survives_the_way() {
        for path in [
            "/a b",
            "/new\n\nline",
            "/q\"uo'te",
            "/back\\slash",
            "/\x01\x1b\x7f\u{9b}",
            "/ünï/\u{1f980}",
        ] {
            let options = WatchOptions {
                exclude: Some(vec!["x\n\ny".into()]),
                ..WatchOptions::default()
            };
            let request = Request::add(&watch("a\\b\"c", path, &options));
            let text = request.to_toml();
            assert!(!text.contains("\n\n"), "{text}");
            assert_eq!(Request::parse(&text), Ok(request));
        }
    }

    #[test]
    fn replies_have_the_bytes_of_0_3() {
        assert_eq!(Reply::done().to_toml(), "ok = true\n\n");
        assert_eq!(Reply::list([]).to_toml(), "ok = true\npaths = []\n\n");
        let options = WatchOptions {
            recursive: Some(true),
            types: Some(vec!["delete".into(), "create".into()]),
            size: Some(">=1KB".into()),
            ..WatchOptions::default()
        };
        let listed = [
            watch("_global", "/mnt/c", &WatchOptions::default()),
            watch("nginx", "/mnt/a", &options),
        ];
        assert_eq!(
            Reply::list(&listed).to_toml(),
            "ok = true\n\n[[paths]]\ncmd = \"_global\"\npath = \"/mnt/c\"\nrecursive = false\n\n[[paths]]\n\
             cmd = \"nginx\"\npath = \"/mnt/a\"\nrecursive = true\ntypes = [\"CREATE\", \"DELETE\"]\nsize = \">=1.0KB\"\n\n"
        );
        assert_eq!(
            Reply::refused("Unknown command: nope", None).to_toml(),
            "ok = false\nerror = \"Unknown command: nope\"\n\n"
        );
        assert_eq!(
            Reply::refused("x", Some(ErrorKind::Permanent)).to_toml(),
            "ok = false\nerror = \"x\"\nerror_kind = \"Permanent\"\n\n"
        );
        let error = Request::parse("path = \"x\"\n").unwrap_err();
        assert_eq!(
            Reply::refused(error, None).to_toml(),
            "ok = false\nerror = \"\"\"\nInvalid command: TOML parse error at line 1, column 1\n  |\n\
             1 | path = \"x\"\n  | ^\nmissing field `cmd`\n\"\"\"\n\n"
        );
    }

    #[test]
    fn replies_read_back() {
        let listed = [watch("_global", "/mnt/\"c\n", &WatchOptions::default())];
        for reply in [
            Reply::done(),
            Reply::list(&listed),
            Reply::refused("a\n\nb", Some(ErrorKind::Transient)),
        ] {
            assert_eq!(Reply::parse(&reply.to_toml()), Ok(reply));
        }
    }
}
