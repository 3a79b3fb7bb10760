//! How far long work has come.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::{line, note};
use crate::log::history::PAGE_EVENTS;
use crate::log::rebuild::Progress;

/// Where there is no terminal, so many lines tell of a whole log.
const PROGRESS_LINES: i64 = 20;

/// How progress is shown: a bar on a terminal, a line now and then elsewhere, every step for machines.
pub(super) enum ProgressShown {
    Bar(ProgressBar),
    Lines,
    Json,
}

impl ProgressShown {
    pub(super) fn new(json: bool) -> Self {
        if json {
            return Self::Json;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines;
        }
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} events  {per_sec}  {eta} left");
        Self::Bar(ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    pub(super) fn report(&self, Progress { position, head }: Progress) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(u64::try_from(head).unwrap_or_default());
                bar.set_position(u64::try_from(position).unwrap_or_default());
            }
            Self::Lines => {
                // One line when another twentieth is done.
                let done = |position: i64| position.saturating_mul(PROGRESS_LINES) / head.max(1);
                if done(position) > done(position - i64::from(PAGE_EVENTS)) {
                    note(&format!("{position} of {head} events"));
                }
            }
            Self::Json => {
                let _ = line(&json!({ "position": position, "head": head }).to_string());
            }
        }
    }

    pub(super) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
