//! A process whose deeds are known: does what its words say, one after the other.
//!
//! What it makes carries in its name who made it, so the log can be held against it:
//!
//! - `make PREFIX`: makes PREFIX.PID.PPID.EUID, writes to it and closes it; `drop`: removes it
//! - `become PATH NAME`: execs PATH under the name NAME, which goes on with the rest of the words
//! - `open-become PATH NAME`: the same by descriptor; `memory-become NAME`: from a copy in memory
//! - `fork`, `clone3`: the child goes on, this process waits for it; `leave`: it does not wait
//! - `spawn PATH NAME`: like fork and become, by posix_spawn
//! - `each N`: N children, one after the other, go on with the rest, where the first `#` of each word
//!   is their number
//! - `script PATH`: nothing; what the interpreter of the script PATH is given before its words
//! - `thread PREFIX`: a second thread makes a file
//! - `setuid UID`, `seteuid UID`, `name NAME`, `setsid`; `wait`: for a line of input

use std::env;
use std::ffi::{CStr, CString, OsString, c_char, c_int, c_long};
use std::fs::{self, File, OpenOptions};
use std::io::{Write, stdin};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, exit, id};
use std::ptr::{null, null_mut};

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn getppid() -> c_int;
    fn geteuid() -> u32;
    fn seteuid(uid: u32) -> c_int;
    fn setresuid(real: u32, effective: u32, saved: u32) -> c_int;
    fn setsid() -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn memfd_create(name: *const c_char, flags: u32) -> c_int;
    fn execveat(
        dir: c_int,
        path: *const c_char,
        argv: *const *const c_char,
        envp: *const *const c_char,
        flags: c_int,
    ) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

const PR_SET_NAME: c_int = 15;
const AT_EMPTY_PATH: c_int = 0x1000;
const SYS_CLONE3: c_long = 435;
const SIGCHLD: u64 = 17;

struct Life {
    /// Who forked this process, also when that has died since.
    parent: u32,
    words: Vec<String>,
    made: Option<String>,
}

fn main() {
    let mut words: Vec<String> = env::args().skip(1).collect();
    let mut parent = unsafe { getppid() } as u32;
    if words.first().is_some_and(|word| word == "born-of") {
        parent = words[1].parse().unwrap();
        words.drain(..2);
    }
    words.reverse();
    let mut life = Life {
        parent,
        words,
        made: None,
    };
    while let Some(word) = life.words.pop() {
        life.act(&word);
    }
}

impl Life {
    fn act(&mut self, word: &str) {
        match word {
            "make" => {
                let prefix = self.word();
                self.made = Some(make(&prefix, self.parent));
            }
            "drop" => fs::remove_file(self.made.take().unwrap()).unwrap(),
            "become" => {
                let (path, name) = (self.word(), self.word());
                panic!("{path}: {}", Command::new(&path).arg0(name).args(self.rest()).exec());
            }
            "open-become" => {
                let (path, name) = (self.word(), self.word());
                self.run(&File::open(path).unwrap(), &name);
            }
            "memory-become" => {
                let name = self.word();
                let label = CString::new(name.clone()).unwrap();
                let descriptor = unsafe { memfd_create(label.as_ptr(), 1) };
                assert!(descriptor >= 0);
                let mut copy = unsafe { File::from_raw_fd(descriptor) };
                copy.write_all(&fs::read("/proc/self/exe").unwrap()).unwrap();
                self.run(&copy, &name);
            }
            "fork" => self.split(id(), unsafe { fork() }, true),
            "leave" => self.split(id(), unsafe { fork() }, false),
            "clone3" => {
                let mut arguments = [0_u64; 8];
                arguments[4] = SIGCHLD;
                let me = id();
                let child = unsafe { syscall(SYS_CLONE3, arguments.as_mut_ptr(), 64_usize) };
                self.split(me, child as c_int, true);
            }
            "spawn" => {
                let (path, name) = (self.word(), self.word());
                let mut rest = self.rest();
                rest.drain(..2);
                let status = Command::new(&path).arg0(name).args(rest).status().unwrap();
                exit(status.code().unwrap_or(1));
            }
            "each" => self.each(),
            "thread" => {
                let (prefix, parent) = (self.word(), self.parent);
                std::thread::spawn(move || make(&prefix, parent)).join().unwrap();
            }
            "setuid" => {
                let uid = self.word().parse().unwrap();
                assert_eq!(unsafe { setresuid(uid, uid, uid) }, 0);
            }
            "seteuid" => assert_eq!(unsafe { seteuid(self.word().parse().unwrap()) }, 0),
            "name" => {
                let name = CString::new(self.word()).unwrap();
                assert_eq!(unsafe { prctl(PR_SET_NAME, name.as_ptr()) }, 0);
            }
            "script" => drop(self.word()),
            "setsid" => assert!(unsafe { setsid() } > 0),
            "wait" => drop(stdin().read_line(&mut String::new()).unwrap()),
            _ => panic!("no such word: {word}"),
        }
    }

    fn word(&mut self) -> String {
        self.words.pop().unwrap()
    }

    /// The words that are left, for the next program.
    fn rest(&mut self) -> Vec<String> {
        let mut rest = vec!["born-of".to_owned(), self.parent.to_string()];
        rest.extend(self.words.drain(..).rev());
        rest
    }

    fn split(&mut self, me: u32, child: c_int, waits: bool) {
        assert!(child >= 0);
        if child == 0 {
            self.parent = me;
            return;
        }
        exit(if waits { wait_for(child) } else { 0 });
    }

    fn each(&mut self) {
        let count: usize = self.word().parse().unwrap();
        let me = id();
        for number in 0..count {
            let child = unsafe { fork() };
            assert!(child >= 0);
            if child == 0 {
                self.parent = me;
                let number = number.to_string();
                for word in &mut self.words {
                    *word = word.replacen('#', &number, 1);
                }
                return;
            }
            let code = wait_for(child);
            if code != 0 {
                exit(code);
            }
        }
        exit(0);
    }

    fn run(&mut self, program: &File, name: &str) {
        let words: Vec<CString> = std::iter::once(name.to_owned())
            .chain(self.rest())
            .map(|word| CString::new(word).unwrap())
            .collect();
        let mut argv: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
        argv.push(null());
        let empty: &CStr = c"";
        let environment: [*const c_char; 1] = [null_mut()];
        unsafe {
            execveat(
                program.as_raw_fd(),
                empty.as_ptr(),
                argv.as_ptr(),
                environment.as_ptr(),
                AT_EMPTY_PATH,
            )
        };
        panic!("{}", std::io::Error::last_os_error());
    }
}

fn wait_for(child: c_int) -> i32 {
    let mut status = 0;
    while unsafe { waitpid(child, &mut status, 0) } < 0 {}
    if status == 0 { 0 } else { 1 }
}

fn make(prefix: &str, parent: u32) -> String {
    let name = format!("{prefix}.{}.{parent}.{}", id(), unsafe { geteuid() });
    let path = OsString::from_vec(name.clone().into_bytes());
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
    file.write_all(b"deed").unwrap();
    name
}
