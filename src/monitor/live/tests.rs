use super::*;
use crate::event::Attribution;

fn event(number: u64, path: &str, kind: EventType) -> FileEvent {
    FileEvent {
        time: WallTime(number as i64),
        kind,
        path: path.as_bytes().to_vec(),
        pid: 1,
        cmd: "sh".into(),
        user: "root".into(),
        file_size: 0,
        ppid: 1,
        tgid: 1,
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

fn tell(hub: &Hub, group: &str, event: &FileEvent) {
    let line = format!("{}\n", event.time.0);
    hub.tell(&group_of(group), Some(event), event.time, line.as_bytes());
}

fn group_of(name: &str) -> GroupName {
    GroupName::of_log(name).unwrap()
}

fn everything() -> Interest {
    Interest {
        groups: None,
        paths: Vec::new(),
        types: TypeSet::ALL,
    }
}

/// The numbers that a reader gets now, and how many it missed before them.
fn take(reader: &mut Subscription) -> (Vec<u64>, u64) {
    let (mut text, mut missed) = (Vec::new(), 0);
    loop {
        match reader.take_next() {
            Next::Lines(chunk) => {
                text.extend_from_slice(chunk.select(reader.interest(), &mut Vec::new()))
            }
            Next::Missed(hole) => missed += hole.count,
            Next::Nothing | Next::End => break,
        }
    }
    let text = String::from_utf8(text).unwrap();
    (
        text.lines().map(|line| line.parse().unwrap()).collect(),
        missed,
    )
}

#[test]
fn a_reader_gets_what_it_asked_for_from_then_on() {
    let hub = Arc::new(Hub::default());
    tell(&hub, "_global", &event(1, "/a", EventType::Create));
    let mut all = hub.subscribe(everything()).unwrap();
    let mut some = hub
        .subscribe(Interest {
            groups: Some(vec![group_of("x"), group_of("_alerts")]),
            paths: vec![b"/a".to_vec()],
            types: TypeSet::EMPTY.with(EventType::Create),
        })
        .unwrap();
    for (number, group, path, kind) in [
        (2, "_global", "/a/b", EventType::Create),
        (3, "x", "/a/b", EventType::Create),
        (4, "x", "/ab", EventType::Create),
        (5, "x", "/a", EventType::Delete),
        (6, "_alerts", "/a", EventType::Create),
    ] {
        tell(&hub, group, &event(number, path, kind));
    }
    assert_eq!(take(&mut all), (vec![], 0), "nothing before a flush");
    hub.tell(&group_of("x"), None, WallTime(7), b"7\n");
    hub.flush();
    assert_eq!(take(&mut all), (vec![2, 3, 4, 5, 7], 0));
    assert_eq!(take(&mut some), (vec![3, 6, 7], 0));
    hub.close();
    assert!(matches!(all.take_next(), Next::End));
    assert!(hub.subscribe(everything()).is_none());
}

#[test]
fn a_slow_reader_is_told_exactly_what_it_missed_and_holds_nobody_up() {
    let hub = Arc::new(Hub::default());
    let mut slow = hub.subscribe(everything()).unwrap();
    let mut choosy = hub
        .subscribe(Interest {
            paths: vec![b"/odd".to_vec()],
            ..everything()
        })
        .unwrap();
    let mut quick = hub.subscribe(everything()).unwrap();
    let all = 300_000;
    let mut got = Vec::new();
    for number in 0..all {
        let path = if number % 2 == 0 { "/even" } else { "/odd" };
        tell(&hub, "_global", &event(number, path, EventType::Create));
        if number % 100 == 0 {
            hub.flush();
            let (numbers, missed) = take(&mut quick);
            assert_eq!(missed, 0);
            got.extend(numbers);
        }
    }
    hub.flush();
    got.extend(take(&mut quick).0);
    assert!(got.into_iter().eq(0..all));
    assert!(hub.lock().bytes <= KEPT);
    let (numbers, missed) = take(&mut slow);
    assert!(missed > 0 && numbers.len() as u64 + missed == all);
    assert!(numbers.into_iter().eq(missed..all));
    let (numbers, missed) = take(&mut choosy);
    assert_eq!(numbers.len() as u64 + missed, all / 2);
    // When all have seen everything nothing is kept.
    assert_eq!(hub.lock().bytes, 0);
    drop((slow, choosy, quick));
    assert!(!hub.is_heard());
}

#[test]
fn there_is_room_for_so_many() {
    let hub = Arc::new(Hub::default());
    let mut readers: Vec<_> = (0..READERS)
        .map(|_| hub.subscribe(everything()).unwrap())
        .collect();
    assert!(hub.subscribe(everything()).is_none());
    readers.pop();
    assert!(hub.subscribe(everything()).is_some());
}
