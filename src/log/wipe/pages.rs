//! The room in SQLite's pages that belongs to no row any more.
//!
//! `secure_delete` overwrites a row where it stands when it is deleted, and a page when it becomes free. But when a page is too full
//! or too empty, SQLite moves rows between it and its neighbours and writes each page anew, and where the moved rows stood, their
//! bytes stay:
//!
//! ```text
//! header, pointers | ......room: zeros, or what once stood here...... | rows
//! ```
//!
//! Nothing ever reads the room, so it is overwritten here, page by page through SQLite's own table of its pages. What has been left of
//! a row stays on its page until then: rows move, the room does not, and a page that becomes free is overwritten whole. So it is enough
//! to have been to each page once after a row was deleted, while others go on writing.
//!
//! The format of a page: <https://www.sqlite.org/fileformat2.html#b_tree_pages>.

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

/// Pages that are overwritten in one transaction at most.
pub(super) const PAGES_AT_ONCE: usize = 64;
/// The file's own header stands on the first page.
const FILE_HEADER: usize = 100;
/// In a file with fewer pages the first byte tells pages of trees from all others: those begin with the number of another page.
const MOST_PAGES: i64 = 1 << 25;

/// All trees that hold, or held, something of a person or a key. The log and the audit trail, by far the most, do not:
/// what the log says of a person is sealed.
const TREES: &str =
    "SELECT name FROM sqlite_schema WHERE rootpage > 0 AND tbl_name <> 'events' AND tbl_name NOT GLOB 'audit_[0-9]*'";
const PAGES_OF_TREE: &str = "SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype IN ('leaf', 'internal')";
const READ_PAGE: &str = "SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1";
const WRITE_PAGE: &str = "UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1";

/// The pages to be looked at.
pub(super) fn of_trees(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let names: Vec<String> = connection.prepare(TREES)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut pages = Vec::new();
    let mut statement = connection.prepare(PAGES_OF_TREE)?;
    for name in names {
        for page in statement.query_map([name], |row| row.get(0))? {
            pages.push(page?);
        }
    }
    Ok(pages)
}

/// Whether all pages can be told apart.
pub(super) fn are_told_apart(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).map(|pages| pages < MOST_PAGES)
}

/// Those of the pages whose room is not all zeros.
pub(super) fn with_remains(connection: &Connection, pages: &[i64]) -> rusqlite::Result<Vec<i64>> {
    let mut found = Vec::new();
    for number in pages {
        if cleaned(connection, *number)?.is_some() {
            found.push(*number);
        }
    }
    Ok(found)
}

/// Overwrites the room of these pages, in one transaction. The caller keeps others from writing meanwhile.
pub(super) fn overwrite(connection: &Connection, pages: &[i64]) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    for number in pages {
        if let Some(page) = cleaned(connection, *number)? {
            connection.prepare_cached(WRITE_PAGE)?.execute((number, page))?;
        }
    }
    transaction.commit()
}

/// The page as it should be; `None` when it is already, or is gone.
fn cleaned(connection: &Connection, number: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    let read = connection.prepare_cached(READ_PAGE)?.query_row([number], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    let Some(mut page) = read else { return Ok(None) };
    let header = if number == 1 { FILE_HEADER } else { 0 };
    Ok((overwrite_room(&mut page, header) == Some(true)).then_some(page))
}

/// Overwrites the room of a page of a tree; answers whether there was anything, and nothing when the page is of another kind.
fn overwrite_room(page: &mut [u8], header: usize) -> Option<bool> {
    let pointers = match *page.get(header)? {
        // Of an index or a table, with pages below it or without.
        2 | 5 => header + 12,
        10 | 13 => header + 8,
        _ => return None,
    };
    let number = |page: &[u8], at: usize| Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])));
    let room_begins = pointers + 2 * number(page, header + 3)?;
    let rows_begin = match number(page, header + 5)? {
        0 => 0x1_0000,
        at => at,
    };
    let mut dirty = zero(page.get_mut(room_begins..rows_begin)?);
    // Where single rows were deleted, four bytes name the next such block and its own length.
    let mut block = number(page, header + 1)?;
    while block > 0 {
        let (next, length) = (number(page, block)?, number(page, block + 2)?);
        dirty |= zero(page.get_mut(block + 4..block + length)?);
        // They stand in order.
        block = if next > block { next } else { 0 };
    }
    Some(dirty)
}

/// Whether there was anything but zeros.
fn zero(bytes: &mut [u8]) -> bool {
    let dirty = bytes.iter().any(|byte| *byte != 0);
    bytes.fill(0);
    dirty
}
