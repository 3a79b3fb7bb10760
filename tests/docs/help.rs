//! Every command and every flag that the docs show is one that `--help` knows, and no command is left out.

use std::process::Command;

use crate::markdown::{blocks, pages, prose, quoted, read};

fn help(command: &[&str]) -> Option<String> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_authlog"));
    let done = program.args(command).arg("--help").output().unwrap();
    done.status.success().then(|| String::from_utf8(done.stdout).unwrap())
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<&str> {
    let Some((_, list)) = help.split_once("Commands:\n") else { return Vec::new() };
    let lines = list.lines().take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

/// Every command of the program, as one types it.
fn commands() -> Vec<String> {
    let top = help(&[]).unwrap();
    let mut commands = Vec::new();
    for name in subcommands(&top) {
        let below = help(&[name]).unwrap();
        match subcommands(&below).as_slice() {
            [] => commands.push(name.to_owned()),
            below => commands.extend(below.iter().map(|below| format!("{name} {below}"))),
        }
    }
    commands
}

/// The lines of the docs that call the program: in blocks, and between back ticks.
fn calls() -> Vec<(String, String)> {
    let mut calls = Vec::new();
    for page in pages() {
        let text = prose(&page);
        calls.extend(quoted(&text).into_iter().map(|quoted| (page.clone(), quoted.to_owned())));
        let shown = blocks(&page).into_iter().filter(|block| block.kind.starts_with("sh"));
        let lines = shown.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>());
        calls.extend(lines.map(|line| (page.clone(), line)));
    }
    let call = |line: &str| {
        line.find("authlog ").map(|start| line[start + "authlog ".len()..].trim_end_matches(')').to_owned())
    };
    let starts = |line: &str| line.starts_with("authlog ") || line.contains("$(authlog ");
    calls.into_iter().filter(|(_, line)| starts(line)).filter_map(|(page, line)| Some((page, call(&line)?))).collect()
}

#[test]
fn every_command_shows_how_it_is_called() {
    for command in commands() {
        let words: Vec<&str> = command.split_whitespace().collect();
        let help = help(&words).unwrap();
        let shown = help.split_once("Example").is_some_and(|(_, shown)| shown.contains(&format!("authlog {command}")));
        assert!(shown, "the help of `{command}` has no example");
    }
}

#[test]
fn every_call_in_the_docs_is_one_that_help_knows() {
    let commands = commands();
    let calls = calls();
    assert!(calls.len() > 20, "{}", calls.len());
    for (page, call) in calls {
        let words: Vec<&str> = call.split_whitespace().collect();
        let named = words.iter().take_while(|word| word.chars().all(|letter| letter.is_ascii_lowercase())).count();
        let command = &words[..named.min(2)];
        assert!(commands.contains(&command.join(" ")), "{page}: there is no command {command:?} in {call:?}");
        let help = help(command).unwrap();
        for flag in words.iter().filter_map(|word| word.strip_prefix("--")) {
            let flag = flag.trim_end_matches([')', ',', ';']).split('=').next().unwrap();
            assert!(help.contains(&format!("--{flag}")), "{page}: {command:?} has no --{flag}");
        }
    }
}

#[test]
fn no_command_is_left_out_of_the_changelog() {
    let changelog = read("CHANGELOG.md");
    for command in commands() {
        assert!(changelog.contains(&format!("`{command}`")), "CHANGELOG.md does not name {command}");
    }
}
