//! Runs a program behind filters of system calls, as a service manager sets them: `confine RULES PROGRAM WORDS...`
//!
//! RULES is a file, one rule a line, all numbers decimal:
//!
//! - `allow NUMBER...`: every other call is EPERM, and one of another architecture the end
//! - `refuse NUMBER ARG MASK VALUE ERRNO`: when the argument, masked, has that value
//! - `only NUMBER ARG ERRNO VALUE...`: when the argument has none of these values

use std::env;
use std::ffi::{c_int, c_ulong};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

unsafe extern "C" {
    fn prctl(option: c_int, ...) -> c_int;
}

#[repr(C)]
struct Step {
    code: u16,
    then: u8,
    otherwise: u8,
    value: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    steps: *const Step,
}

const PR_SET_SECCOMP: c_int = 22;
const SECCOMP_MODE_FILTER: c_ulong = 2;
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const END: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = 1;
/// Where `struct seccomp_data` has the number of the call, the architecture, and the low half of the first argument.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xC000_00B7;

fn main() {
    let mut words = env::args_os().skip(1);
    let rules = fs::read_to_string(words.next().expect("RULES")).unwrap();
    for rule in rules.lines() {
        let (kind, numbers) = rule.split_once(' ').unwrap();
        let numbers: Vec<u32> = numbers.split(' ').map(|word| word.parse().unwrap()).collect();
        install(&match (kind, numbers.as_slice()) {
            ("allow", numbers) => allow(numbers),
            ("refuse", &[number, arg, mask, value, errno]) => refuse(number, arg, mask, value, errno),
            ("only", [number, arg, errno, values @ ..]) => only(*number, *arg, *errno, values),
            _ => panic!("{rule}"),
        });
    }
    let error = Command::new(words.next().expect("PROGRAM")).args(words).exec();
    panic!("{error}");
}

fn step(code: u16, value: u32) -> Step {
    if_equal(code, value, 0, 0)
}

fn if_equal(code: u16, value: u32, then: u8, otherwise: u8) -> Step {
    Step { code, then, otherwise, value }
}

fn allow(numbers: &[u32]) -> Vec<Step> {
    let mut steps = vec![
        step(LOAD, ARCH),
        if_equal(IF_EQUAL, NATIVE, 1, 0),
        step(END, KILL),
        step(LOAD, NUMBER),
    ];
    for number in numbers {
        steps.push(if_equal(IF_EQUAL, *number, 0, 1));
        steps.push(step(END, ALLOW));
    }
    steps.push(step(END, ERRNO | EPERM));
    steps
}

fn refuse(number: u32, arg: u32, mask: u32, value: u32, errno: u32) -> Vec<Step> {
    vec![
        step(LOAD, NUMBER),
        if_equal(IF_EQUAL, number, 0, 4),
        step(LOAD, ARGS + 8 * arg),
        step(AND, mask),
        if_equal(IF_EQUAL, value, 0, 1),
        step(END, ERRNO | errno),
        step(END, ALLOW),
    ]
}

fn only(number: u32, arg: u32, errno: u32, values: &[u32]) -> Vec<Step> {
    let mut steps = vec![
        step(LOAD, NUMBER),
        if_equal(IF_EQUAL, number, 1, 0),
        step(END, ALLOW),
        step(LOAD, ARGS + 8 * arg),
    ];
    for value in values {
        steps.push(if_equal(IF_EQUAL, *value, 0, 1));
        steps.push(step(END, ALLOW));
    }
    steps.push(step(END, ERRNO | errno));
    steps
}

fn install(steps: &[Step]) {
    let program = Program { len: steps.len() as u16, steps: steps.as_ptr() };
    let done = unsafe { prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
