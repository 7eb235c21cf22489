//! What a worker process does, by the name of its job.

use std::env;
use std::io::BufRead as _;
use std::path::Path;

use crate::actor::Actor;
use crate::plans::STEPS;
use crate::workers::VARIABLE;
use crate::{alerts, bursts, churn, deny, edges, flood, gate, rmrf, socket, storm, trims, who};

/// Does the job and returns true when this process is a worker.
pub(crate) fn is_worker() -> bool {
    let Ok(job) = env::var(VARIABLE) else {
        return false;
    };
    let words: Vec<String> = env::args().skip(1).collect();
    let word = |at: usize| words[at].as_str();
    let number = |at: usize| word(at).parse::<usize>().unwrap();
    println!("waiting");
    std::io::stdin()
        .lock()
        .read_line(&mut String::new())
        .unwrap();
    match job.as_str() {
        "churn" => churn::plan(&mut Actor::hands(), Path::new(word(0)), number(1)),
        "flood" => flood::work(Path::new(word(0)), number(1)),
        "rmrf" => rmrf::plan(&mut Actor::hands(), Path::new(word(0)), word(1)),
        "storm" => storm::plan(
            &mut Actor::hands(),
            Path::new(word(0)),
            Path::new(word(1)),
            number(2),
            STEPS,
        ),
        "spawn" => who::spawn(word(0), number(1), number(2)),
        "numbers" => edges::work(Path::new(word(0)), Path::new(word(1))),
        "count" => trims::work(Path::new(word(0)), number(1), number(2), number(3)),
        "denied" => deny::work(Path::new(word(0)), number(1)),
        "leave" => deny::leave(word(0), Path::new(word(1)), word(2)),
        "gate" => gate::keeper::keep(&words),
        "opens" => gate::open_some(Path::new(word(0)), number(1), number(2)),
        "cost" => gate::cost::open_often(Path::new(word(0)), number(1)),
        "deeds" => alerts::work(Path::new(word(0)), number(1), number(2)),
        "bursts" => bursts::work(Path::new(word(0)), number(1), number(2)),
        "visits" => bursts::open(&words),
        "client" => socket::work(Path::new(word(0))),
        _ => panic!("no such job: {job}"),
    }
    true
}
