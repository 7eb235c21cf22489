//! Requests on the socket and the replies to them.

use fsmon::monitor::control::Command;
use fsmon::monitored::WatchOptions;
use fsmon::socket::health::{Filesystem, Health};
use fsmon::socket::proto::{ErrorKind, ListedWatch, Reply, Request};

use super::draw::Draw;

pub fn body(bytes: &[u8]) {
    any_bytes_are_a_request_or_an_error(bytes);
    let mut draw = Draw::new(bytes);
    for _ in 0..2 {
        a_request_survives_the_way(&request(&mut draw));
        a_reply_survives_the_way(&reply(&mut draw));
    }
}

fn any_bytes_are_a_request_or_an_error(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Request::parse(text) {
        Ok(request) => a_request_survives_the_way(&request),
        Err(error) => a_reply_survives_the_way(&Reply::refused(error, None)),
    }
    if let Ok(reply) = Reply::parse(text) {
        a_reply_survives_the_way(&reply);
    }
}

/// An empty line ends a request, so there is none in it; and what cannot be done has a reply that can be sent.
fn a_request_survives_the_way(request: &Request) {
    let text = request.to_toml();
    assert!(!text.contains("\n\n") && text.ends_with('\n'), "{text:?}");
    assert_eq!(Request::parse(&text).as_ref(), Ok(request));
    match Command::from_request(request) {
        Ok(Command::Add(watch)) => {
            // What was understood means the same when it is asked for again.
            let again = Command::from_request(&Request::add(&watch));
            assert!(
                matches!(&again, Ok(Command::Add(other)) if *other == watch),
                "{again:?}"
            );
            let list = Reply::list([&*watch]);
            a_reply_survives_the_way(&list);
        }
        Ok(_) => {}
        Err(refusal) => a_reply_survives_the_way(&refusal),
    }
}

fn a_reply_survives_the_way(reply: &Reply) {
    let text = reply.to_toml();
    assert!(text.ends_with("\n\n"));
    let back = Reply::parse(&text).expect("what was written can be read");
    assert_eq!(back, *reply);
}

fn request(draw: &mut Draw<'_>) -> Request {
    let commands = [
        "add",
        "remove",
        "list",
        "health",
        "subscribe",
        "cleaned",
        "sing",
    ];
    let texts = |draw: &mut Draw<'_>| (0..draw.below(4)).map(|_| draw.text(30)).collect();
    let WatchOptions { types, exclude, .. } = WatchOptions {
        types: draw.flag().then(|| texts(draw)),
        exclude: draw.flag().then(|| texts(draw)),
        ..WatchOptions::default()
    };
    let mut path = draw.text(60);
    if draw.flag() {
        path.insert(0, '/');
    }
    Request {
        cmd: draw.one_of(&commands).to_owned(),
        path: draw.flag().then_some(path),
        recursive: draw.flag().then(|| draw.flag()),
        types,
        size: draw.flag().then(|| draw.text(12)),
        exclude,
        max_depth: draw.flag().then(|| draw.u32()),
        track_cmd: draw.flag().then(|| draw.text(20)),
        groups: draw.flag().then(|| texts(draw)),
        paths: draw.flag().then(|| texts(draw)),
        deleted: draw.flag().then(|| u64::from(draw.u32())),
        before: draw.flag().then(|| u64::from(draw.u32()) << 20),
        after: draw.flag().then(|| u64::from(draw.u32())),
    }
}

fn reply(draw: &mut Draw<'_>) -> Reply {
    match draw.below(3) {
        0 => Reply::refused(
            draw.text(60),
            draw.flag()
                .then(|| draw.one_of(&[ErrorKind::Permanent, ErrorKind::Transient])),
        ),
        1 => Reply {
            paths: Some((0..draw.below(3)).map(|_| listed(draw)).collect()),
            ..Reply::done()
        },
        _ => Reply::health(health(draw)),
    }
}

fn listed(draw: &mut Draw<'_>) -> ListedWatch {
    let texts = |draw: &mut Draw<'_>| (0..draw.below(4)).map(|_| draw.text(30)).collect();
    ListedWatch {
        cmd: draw.text(20),
        path: draw.text(60),
        recursive: draw.flag(),
        types: draw.flag().then(|| texts(draw)),
        size: draw.flag().then(|| draw.text(12)),
        exclude: draw.flag().then(|| texts(draw)),
        max_depth: draw.flag().then(|| draw.u32()),
    }
}

/// The numbers are whatever was counted.
fn health(draw: &mut Draw<'_>) -> Health {
    let mut health = Health {
        version: draw.text(8),
        pid: draw.u32(),
        since: draw.text(30),
        ..Health::default()
    };
    for number in [
        &mut health.up_secs,
        &mut health.memory_kib,
        &mut health.events.records,
        &mut health.losses.events,
        &mut health.queues.held_ceiling_bytes,
        &mut health.known.directories,
        &mut health.policy.opens,
    ] {
        *number = draw.u64();
    }
    for _ in 0..draw.below(3) {
        health.filesystems.push(Filesystem {
            point: draw.text(30),
            fstype: draw.text(10),
            way: draw.text(10),
        });
    }
    health
}
