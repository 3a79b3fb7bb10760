//! Comma-separated values (RFC 4180), for spreadsheets.
//!
//! A spreadsheet takes a cell for a formula that begins with `=`, `+`, `-`, `@`, a tab or a line end, and an address may begin so.
//! Such a cell gets an apostrophe in front, and is text then. Programs that want every value as it is read JSON.

use std::borrow::Cow;

/// Cells as a line with its end.
pub(super) fn line<'a>(cells: impl IntoIterator<Item = Cow<'a, str>>) -> String {
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    format!("{}\r\n", cells.join(","))
}

fn cell(text: Cow<'_, str>) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{text}") } else { text.into() };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_need_it_are_quoted_and_no_cell_is_a_formula() {
        let cells = ["1", "", "a,b", "say \"so\"", "two\nlines", "=1+1", "-2", "@x", "+y,\"z\"", "\t5", "a=b"];
        assert_eq!(
            line(cells.map(Cow::from)),
            "1,,\"a,b\",\"say \"\"so\"\"\",\"two\nlines\",'=1+1,'-2,'@x,\"'+y,\"\"z\"\"\",'\t5,a=b\r\n"
        );
    }
}
