//! The table: a row a figure, with its target if it has one.

use serde_json::{Value, json};

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    fn spoken(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least}"),
            Self::AtMost(most) => format!("<= {most}"),
        }
    }
}

/// One figure.
#[derive(Debug)]
pub(super) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    target: Option<Target>,
    note: String,
}

impl Row {
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, target: None, note: String::new() }
    }

    pub(super) fn target(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }

    pub(super) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    fn verdict(&self) -> &'static str {
        match self.target {
            None => "",
            Some(target) if target.met(self.value) => "pass",
            Some(_) => "miss",
        }
    }

    /// Three digits that count, or the whole number.
    fn figure(&self) -> String {
        let figure = match self.value.abs() {
            value if value >= 100.0 => format!("{:.0}", self.value),
            value if value >= 10.0 => format!("{:.1}", self.value),
            _ => format!("{:.2}", self.value),
        };
        format!("{figure} {}", self.unit).trim_end().to_owned()
    }
}

/// Every figure of a run, in the order in which they were measured.
#[derive(Debug)]
pub(super) struct Report {
    quick: bool,
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(quick: bool) -> Self {
        Self { quick, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, row: Row) {
        super::progress(&format!("{}: {} {}", row.name, row.figure(), row.verdict()));
        self.rows.push(row);
    }

    pub(super) fn table(&self) -> String {
        let mut lines = vec![["", "figure", "target", "", ""].map(str::to_owned)];
        lines.extend(self.rows.iter().map(|row| {
            let target = row.target.map(Target::spoken).unwrap_or_default();
            [row.name.clone(), row.figure(), target, row.verdict().to_owned(), row.note.clone()]
        }));
        let widths: Vec<usize> =
            (0..4).map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0)).collect();
        let mut table = String::new();
        for [name, figure, target, verdict, note] in &lines {
            let line = format!(
                "{name:<w0$}  {figure:>w1$}  {target:<w2$}  {verdict:<w3$}  {note}",
                w0 = widths[0],
                w1 = widths[1],
                w2 = widths[2],
                w3 = widths[3]
            );
            table.push_str(line.trim_end());
            table.push('\n');
        }
        if self.quick {
            table.push_str("\nA quick run: short rounds, a small log. Its figures say little.\n");
        }
        table
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let (least, most) = match row.target {
                Some(Target::AtLeast(least)) => (Some(least), None),
                Some(Target::AtMost(most)) => (None, Some(most)),
                None => (None, None),
            };
            json!({
                "name": row.name, "value": row.value, "unit": row.unit, "at_least": least, "at_most": most,
                "met": row.target.map(|target| target.met(row.value)), "note": row.note,
            })
        });
        json!({ "quick": self.quick, "rows": rows.collect::<Vec<_>>() })
    }
}

/// The middle value, or the mean of the two in the middle; not a number when there is none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// From the least to the most, for a note.
pub(super) fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most >= 100.0 { format!("{least:.0} to {most:.0}") } else { format!("{least:.2} to {most:.2}") }
}

#[cfg(test)]
mod tests {
    use super::{Report, Row, Target, median, spread};

    #[test]
    fn a_row_says_whether_it_meets_its_target() {
        let mut report = Report::new(true);
        report.add(Row::new("ratio", 0.5, "").target(Target::AtLeast(0.5)).note("1 to 2"));
        report.add(Row::new("memory", 25.04, "MiB").target(Target::AtMost(25.0)));
        report.add(Row::new("calls a second", 51_234.4, ""));
        let table = report.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[1], "ratio               0.50  >= 0.5  pass  1 to 2");
        assert_eq!(lines[2], "memory          25.0 MiB  <= 25   miss");
        assert_eq!(lines[3], "calls a second     51234");
        assert_eq!(report.json()["rows"][1]["met"], false);
    }

    #[test]
    fn the_median_is_the_middle_however_many_there_are() {
        assert!(median(&[]).is_nan());
        assert_eq!(
            [median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])].map(f64::to_bits),
            [2.0, 2.5].map(f64::to_bits)
        );
        assert_eq!(spread(&[3.0, 1.0, 2.0]), "1.00 to 3.00");
    }
}
