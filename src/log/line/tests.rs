use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

fn event() -> FileEvent {
    FileEvent {
        time: WallTime(1_778_148_001_550_764_698),
        kind: EventType::Create,
        path: b"/var/www/myapp/index.html".to_vec(),
        pid: 1234,
        cmd: "nginx".into(),
        user: "www-data".into(),
        file_size: 0,
        ppid: 1,
        tgid: 1234,
        chain: "".into(),
        exe: None,
        other_path: None,
        attribution: Attribution::Exact,
        is_dir: false,
        is_adrift: false,
        job: None,
        inferred: None,
    }
}

fn encoded(event: &FileEvent) -> String {
    let mut out = Vec::new();
    encode_event(event, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_line_is_the_documented_one() {
    assert_eq!(
        encoded(&event()),
        concat!(
            r#"{"time":"2026-05-07T10:00:01.550764698Z","event_type":"CREATE","path":"/var/www/myapp/index.html","#,
            r#""pid":1234,"cmd":"nginx","user":"www-data","file_size":0,"ppid":1,"tgid":1234,"chain":""}"#,
            "\n"
        )
    );
}

#[test]
fn further_keys_stand_only_where_they_say_something() {
    let mut moved = event();
    moved.kind = EventType::MovedTo;
    moved.path = b"/a/\xff".to_vec();
    moved.exe = Some("/bin/mv".into());
    moved.other_path = Some(b"/a/x".to_vec());
    moved.attribution = Attribution::Unknown;
    let line = encoded(&moved);
    assert!(
        line.ends_with("\"chain\":\"\",\"exe\":\"/bin/mv\",\"from\":\"/a/x\",\"path_raw\":\"2f612fff\",\"attribution\":\"unknown\"}\n"),
        "{line}"
    );
    assert!(line.contains("\"path\":\"/a/\u{fffd}\""), "{line}");
    moved.kind = EventType::MovedFrom;
    moved.other_path = Some(b"/b/\xfe".to_vec());
    let line = encoded(&moved);
    assert!(
        line.contains("\"to\":\"/b/\u{fffd}\",\"path_raw\":\"2f612fff\",\"to_raw\":\"2f622ffe\""),
        "{line}"
    );
    assert_eq!(decode(line.as_bytes()), Some(LogLine::Event(moved)));
}

#[test]
fn lines_of_the_ancestor_are_read() {
    let old = br#"{"time":"2026-05-07T18:00:01+08:00","event_type":"DELETE","path":"/a","pid":7,"cmd":"rm","user":"root","file_size":3}"#;
    let Some(LogLine::Event(read)) = decode(old) else {
        panic!("not read")
    };
    assert_eq!(read.time, WallTime(1_778_148_001_000_000_000));
    assert_eq!(
        (read.pid, read.ppid, read.tgid, read.chain.as_ref()),
        (7, 0, 0, "")
    );
    assert_eq!(time_of(old), Some(read.time));
    assert_eq!(glance(old).unwrap().path(), Cow::Borrowed(b"/a"));
}

#[test]
fn a_gap_reads_back_and_is_seen_at_a_glance() {
    let gap = Gap {
        time: WallTime(5),
        lost: -1,
        cause: "kernel queue \"full\"".into(),
        since: WallTime(3),
    };
    let mut line = Vec::new();
    encode_gap(&gap, &mut line);
    assert_eq!(decode(&line), Some(LogLine::Gap(gap)));
    let seen = glance(&line).unwrap();
    assert!(seen.is_gap());
    assert_eq!(seen.lost, Some(-1));
    let json: Json = serde_json::from_slice(&line).unwrap();
    assert_eq!(json["path"], "");
    assert_eq!(json["since"], "1970-01-01T00:00:00.000000003Z");
}

#[test]
fn what_is_no_event_is_not_taken_for_one() {
    for bad in [
        &b""[..],
        b"garbage",
        b"{}",
        br#"{"time":"2026-05-07T10:00:01Z"}"#,
        br#"{"time":"yesterday","event_type":"CREATE","path":"/a"}"#,
        br#"{"time":"2026-05-07T10:00:01Z","event_type":"CREATE","path":"/a""#,
        b"{\"time\":\"2026-05-07T10:00:01Z\",\"event_type\":\"CREATE\",\"path\":\"/\xff\"}",
    ] {
        assert_eq!(decode(bad), None, "{}", String::from_utf8_lossy(bad));
        assert_eq!(glance(bad), None);
    }
}

#[test]
fn types_of_later_versions_pass_at_a_glance() {
    let line =
        br#"{"time":"2026-05-07T10:00:01Z","event_type":"ALERT","path":"/a","rule":{"name":[1]}}"#;
    assert_eq!(glance(line).unwrap().event_type, b"ALERT");
    assert_eq!(decode(line), None);
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        any::<String>().prop_map(String::into_bytes),
        "/[a-z/]{0,60}".prop_map(String::into_bytes),
    ]
}

fn any_text() -> impl Strategy<Value = Arc<str>> {
    any::<String>().prop_map(Arc::from)
}

prop_compose! {
    fn any_event()(
        time: i64,
        kind in 0_usize..14,
        path in any_bytes(),
        cmd in any_text(),
        user in any_text(),
        chain in any_text(),
        exe in proptest::option::of(any_text()),
        other in proptest::option::of(any_bytes()),
        numbers: (u32, u64, u32, u32),
        sure in 0..3,
    ) -> FileEvent {
        FileEvent {
            time: WallTime(time),
            kind: EventType::ALL[kind],
            path,
            pid: numbers.0,
            cmd,
            user,
            file_size: numbers.1,
            ppid: numbers.2,
            tgid: numbers.3,
            chain,
            exe,
            other_path: other,
            attribution: [Attribution::Exact, Attribution::Ambiguous, Attribution::Unknown][sure as usize],
            is_dir: numbers.0 % 2 == 0,
            is_adrift: numbers.0 % 3 == 0,
            job: (numbers.3 % 3 == 0).then(|| JobPlace { id: "build \"17\"".into(), role: "workspace".into() }),
            inferred: (numbers.3 % 5 == 1).then_some(WallTime(time ^ 5)),
        }
    }
}

proptest! {
    #[test]
    fn every_event_is_one_line_of_valid_json_and_reads_back_exactly(event in any_event()) {
        let mut line = Vec::new();
        encode_event(&event, &mut line);
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(line.last_chunk::<2>(), Some(b"}\n"));
        let json: Json = serde_json::from_slice(&line).unwrap();
        prop_assert_eq!(json["path"].as_str().unwrap(), &String::from_utf8_lossy(&event.path));
        prop_assert_eq!(json["cmd"].as_str().unwrap(), event.cmd.as_ref());
        prop_assert_eq!(json["file_size"].as_u64().unwrap(), event.file_size);
        let seen = glance(&line).unwrap();
        let path = seen.path().into_owned();
        prop_assert_eq!(&path, &event.path);
        prop_assert_eq!(seen.time, event.time);
        prop_assert_eq!(time_of(&line), Some(event.time));
        prop_assert_eq!(decode(&line), Some(LogLine::Event(event)));
    }

    #[test]
    fn no_bytes_make_reading_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode(&line);
        glance(&line);
        time_of(&line);
    }

    #[test]
    fn a_cut_line_is_never_read(event in any_event(), cut in 0_usize..10_000) {
        let mut line = Vec::new();
        encode_event(&event, &mut line);
        line.truncate(cut % (line.len() - 1));
        prop_assert_eq!(decode(&line), None);
        prop_assert_eq!(time_of(&line), None);
    }
}
