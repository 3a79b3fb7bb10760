//! What a process asked of the kernel, as strace writes it down.
//!
//! The lines stand in the order in which the one tracer saw them: every call of every thread stops there on its way in and on
//! its way out. So a flush whose return stands before a `sendto` was over when the bytes were handed to the socket.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// One thing seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The first bytes of a request have been read from this socket: method and path, as far as they came along (of a new
    /// connection the server reads 24 bytes first, to tell HTTP/2).
    Arrived { socket: String, request_line: String },
    /// Bytes are about to be written to the write-ahead log.
    WalWritten,
    /// A flush of the write-ahead log begins.
    FlushBegun { thread: String },
    /// It has succeeded.
    Flushed { thread: String },
    /// The first bytes of an answer are about to be sent to this socket.
    Answered { socket: String, status: u16 },
}

/// The arguments for a program that is to be traced into `file`. The tracer steps aside (`-D`): the child is the program.
pub fn strace(file: &Path) -> Vec<String> {
    let calls = "trace=fsync,fdatasync,write,writev,pwrite64,pwritev,sendto,sendmsg,read,readv,recvfrom,recvmsg";
    ["strace", "-D", "-f", "-y", "-ttt", "-s", "80", "-e", "signal=none", "-e", calls, "-o"]
        .map(str::to_owned)
        .into_iter()
        .chain([file.display().to_string()])
        .collect()
}

/// Panics with one line where strace does not run.
pub fn require_strace() {
    let runs = std::process::Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    assert!(runs, "strace is missing: this test traces the server's flushes with it (Debian: apt-get install strace)");
}

/// Reads a trace whose program has ended; waits for the tracer to have written the end down.
pub fn read(file: &Path) -> Vec<Seen> {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        if text.lines().last().is_some_and(|line| line.contains("+++ exited")) {
            return parse(&text);
        }
        assert!(Instant::now() < give_up, "the tracer does not end: {}", text.lines().last().unwrap_or_default());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn parse(text: &str) -> Vec<Seen> {
    // What each thread is in the middle of: the name of the call and its first argument.
    let mut inside: HashMap<&str, (String, String)> = HashMap::new();
    let mut seen = Vec::new();
    for line in text.lines() {
        // THREAD TIME CALL, the number of the thread padded.
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((_time, call)) = rest.trim_start().split_once(' ') else { continue };
        if let Some(resumed) = call.strip_prefix("<... ") {
            if let Some((name, file)) = inside.remove(thread) {
                returned(thread, &name, &file, resumed, &mut seen);
            }
        } else if let Some((name, arguments)) = call.split_once('(') {
            let file = between(arguments, '<', '>').unwrap_or_default();
            entered(thread, name, &file, arguments, &mut seen);
            if call.ends_with("<unfinished ...>") {
                inside.insert(thread, (name.to_owned(), file));
            } else {
                returned(thread, name, &file, arguments, &mut seen);
            }
        }
    }
    seen
}

fn entered(thread: &str, name: &str, file: &str, arguments: &str, seen: &mut Vec<Seen>) {
    let wal = file.ends_with("-wal");
    match name {
        "fsync" | "fdatasync" if wal => seen.push(Seen::FlushBegun { thread: thread.to_owned() }),
        "write" | "writev" | "pwrite64" | "pwritev" if wal => seen.push(Seen::WalWritten),
        "write" | "writev" | "sendto" | "sendmsg" => {
            if let Some(status) = arguments.split_once("\"HTTP/1.1 ").and_then(|(_, rest)| rest.get(..3)?.parse().ok())
            {
                seen.push(Seen::Answered { socket: file.to_owned(), status });
            }
        }
        _ => {}
    }
}

fn returned(thread: &str, name: &str, file: &str, text: &str, seen: &mut Vec<Seen>) {
    match name {
        "fsync" | "fdatasync" if file.ends_with("-wal") && text.ends_with("= 0") => {
            seen.push(Seen::Flushed { thread: thread.to_owned() });
        }
        "read" | "readv" | "recvfrom" | "recvmsg" => {
            let bytes = text.split_once('"').map_or("", |(_, bytes)| bytes);
            let mut words = bytes.split([' ', '"']);
            if let (Some(method @ ("GET" | "POST" | "PATCH" | "DELETE")), Some(path)) = (words.next(), words.next()) {
                let (socket, request_line) = (file.to_owned(), format!("{method} {path}"));
                seen.push(Seen::Arrived { socket, request_line });
            }
        }
        _ => {}
    }
}

fn between(text: &str, open: char, close: char) -> Option<String> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inner, _)| inner.to_owned())
}
