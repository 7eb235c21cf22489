//! Events as comma-separated values: <https://www.rfc-editor.org/rfc/rfc4180>

use fsmon::event::{Attribution, FileEvent};
use fsmon::log::alert::Note;
use fsmon::log::line::{Gap, write_time};

use super::look::harmless;

/// The names of the columns, as a line.
pub(crate) const HEAD: &str = "time,event_type,path,pid,cmd,user,file_size,ppid,tgid,chain,exe,other_path,attribution,rule,reason\r\n";

/// A line for an event, and for what a rule says of it. Control characters are escaped, and what is not
/// UTF-8 is replaced.
pub(crate) fn event(event: &FileEvent, note: Option<&Note<'_>>, out: &mut String) {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let attribution = match event.attribution {
        Attribution::Exact => "",
        Attribution::Ambiguous => "ambiguous",
        Attribution::Unknown => "unknown",
    };
    let reason = match (note, event.inferred) {
        (Some(note), _) => note.reason.to_string(),
        (None, Some(since)) => format!("found out afterwards: it happened after {}", time(since)),
        (None, None) if event.is_adrift => {
            "the path is one of two: a directory above was renamed".to_owned()
        }
        (None, None) => String::new(),
    };
    let fields = [
        time(event.time),
        event.kind.name().to_owned(),
        lossy(&event.path),
        event.pid.to_string(),
        event.cmd.to_string(),
        event.user.to_string(),
        event.file_size.to_string(),
        event.ppid.to_string(),
        event.tgid.to_string(),
        event.chain.to_string(),
        event.exe.as_deref().unwrap_or_default().to_owned(),
        event.other_path.as_deref().map(lossy).unwrap_or_default(),
        attribution.to_owned(),
        note.map(|note| note.rule.to_string()).unwrap_or_default(),
        reason,
    ];
    line(&fields, out);
}

/// A line for a hole: what was lost stands in the last column.
pub(crate) fn gap(gap: &Gap<'_>, out: &mut String) {
    let mut fields = [const { String::new() }; COLUMNS];
    fields[0] = time(gap.time);
    "GAP".clone_into(&mut fields[1]);
    fields[COLUMNS - 1] = format!("{} lost: {}", gap.lost, gap.cause);
    line(&fields, out);
}

fn time(time: fsmon::event::WallTime) -> String {
    let mut text = Vec::new();
    write_time(time, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn line(fields: &[String; COLUMNS], out: &mut String) {
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let field = harmless(field);
        if field.contains([',', '"']) {
            out.push('"');
            *out += &field.replace('"', "\"\"");
            out.push('"');
        } else {
            *out += &field;
        }
    }
    *out += "\r\n";
}

const COLUMNS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use fsmon::event::{EventType, WallTime};

    #[test]
    fn fields_that_need_it_are_quoted() {
        let event_of_all = FileEvent {
            time: WallTime(0),
            kind: EventType::MovedTo,
            path: b"/a,\"b\"\n\xff".to_vec(),
            pid: 7,
            cmd: "sh".into(),
            user: "root".into(),
            file_size: 3,
            ppid: 1,
            tgid: 7,
            chain: "7|sh|root".into(),
            exe: None,
            other_path: Some(b"/c".to_vec()),
            attribution: Attribution::Ambiguous,
            is_dir: false,
            is_adrift: false,
            job: None,
            inferred: None,
        };
        let mut out = String::new();
        event(&event_of_all, None, &mut out);
        assert_eq!(
            out,
            "1970-01-01T00:00:00.000000000Z,MOVED_TO,\"/a,\"\"b\"\"\\n\u{fffd}\",7,sh,root,3,1,7,7|sh|root,,/c,ambiguous,,\r\n"
        );
        assert_eq!(HEAD.matches(',').count() + 1, COLUMNS);
        let hole = Gap {
            time: WallTime(0),
            lost: 5,
            cause: "no room".into(),
            since: WallTime(0),
        };
        out.clear();
        gap(&hole, &mut out);
        assert!(out.ends_with(",5 lost: no room\r\n") && out.matches(',').count() == 14);
    }
}
