//! How far long work has come.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicI64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::{json_line, note};
use crate::log::rebuild::Progress;

/// Where there is no terminal, so many lines tell of the whole.
const PROGRESS_LINES: i64 = 20;

/// How progress is shown: a bar on a terminal, a line now and then elsewhere, every step for machines.
pub(super) enum ProgressShown {
    Bar(ProgressBar),
    Lines {
        /// Of what.
        things: &'static str,
        /// The twentieths that have been told of.
        told: AtomicI64,
    },
    Json,
}

impl ProgressShown {
    /// Of events.
    pub(super) fn new(json: bool) -> Self {
        Self::of("events", json)
    }

    pub(super) fn of(things: &'static str, json: bool) -> Self {
        if json {
            return Self::Json;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines { things, told: AtomicI64::new(0) };
        }
        let template = format!("{{bar:40}} {{pos}}/{{len}} {things}  {{per_sec}}  {{eta}} left");
        let style = ProgressStyle::with_template(&template);
        Self::Bar(ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    pub(super) fn report(&self, Progress { position, head }: Progress) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(u64::try_from(head).unwrap_or_default());
                bar.set_position(u64::try_from(position).unwrap_or_default());
            }
            Self::Lines { things, told } => {
                // One line when another twentieth is done.
                let done = position.saturating_mul(PROGRESS_LINES) / head.max(1);
                if done > told.swap(done, Ordering::Relaxed) {
                    note(&format!("{position} of {head} {things}"));
                }
            }
            Self::Json => {
                let _ = json_line(&json!({ "position": position, "head": head }));
            }
        }
    }

    pub(super) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
