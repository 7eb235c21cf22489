//! What the kernel counts of a process.

use std::fs;

/// CPU time of all threads of a process that live, in nanoseconds.
pub(crate) fn cpu(pid: u32) -> u64 {
    of_tasks(pid, "schedstat", |text| {
        text.split(' ').next()?.parse().ok()
    })
}

/// How often its threads came back from a wait.
pub(crate) fn wake_ups(pid: u32) -> u64 {
    of_tasks(pid, "status", |text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    })
}

/// A size of /proc/PID/status, in bytes.
pub(crate) fn memory(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// The name of a living process.
pub(crate) fn comm(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    text.trim_end().to_owned()
}

/// How many processes and threads were ever started on the machine.
pub(crate) fn forks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("processes "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn of_tasks(pid: u32, file: &str, number: impl Fn(&str) -> Option<u64>) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join(file)).ok())
        .filter_map(|text| number(&text))
        .sum()
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
