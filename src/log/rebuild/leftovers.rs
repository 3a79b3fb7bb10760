//! Tables of sets that are not in force: the old ones after a switch, and what a rebuild that was cut off has left. They hold
//! clear rows, nobody reads them, and an erasure would not touch them.

use projections::{TABLES, Table};

use super::turns::{ROWS_IN_TURNS, Turns};
use super::{Company, read_head, try_turn};
use crate::log::connection::{Overwrite, WriteConnection, WriteTarget};
use crate::log::dialect::{delete_some, index_name, table_name};
use crate::log::head::Layout;

/// A read model's table in one set.
pub(super) type Set = (&'static Table, i64);

/// Drops all tables that are not in force, unless a rebuild on another node may be filling some; answers whether none is left that
/// holds anything. That no rebuild of this process does is up to the caller.
///
/// # Errors
/// When the database fails.
pub(in crate::log) async fn drop_leftovers(company: Company<'_>, target: &WriteTarget) -> sqlx::Result<bool> {
    let mut connection = target.connect().await?;
    let dialect = target.dialect();
    let head = read_head(&mut connection, dialect.read_head()).await?;
    let none_left = if leftovers(&mut connection, dialect.table_names(), &head.layout).await?.is_empty() {
        true
    } else if try_turn(&mut connection).await? {
        // Whoever had the turn before may have switched.
        let head = read_head(&mut connection, dialect.read_head()).await?;
        let mut turns = Turns::begin(company);
        let mut sweep = Sweep { company, connection: &mut connection, turns: &mut turns };
        let none_left = sweep.all_but(dialect.table_names(), &head.layout).await?.is_empty();
        connection.give_up_turn().await;
        none_left
    } else {
        false
    };
    connection.close().await;
    Ok(none_left)
}

/// The tables of which `layout` does not say that they are in force. `names` is the statement that lists tables.
pub(super) async fn leftovers(
    connection: &mut WriteConnection,
    names: &str,
    layout: &Layout,
) -> sqlx::Result<Vec<Set>> {
    let names = connection.texts(names, None).await?;
    let sets = names.iter().filter_map(|name| set_named(name));
    let in_force = |(table, set): &Set| layout.0.get(table.name).is_some_and(|state| state.set == *set);
    Ok(sets.filter(|set| !in_force(set)).collect())
}

fn set_named(name: &str) -> Option<Set> {
    let (model, number) = name.rsplit_once('_')?;
    let table = TABLES.into_iter().find(|table| table.name == model)?;
    let set = number.parse().ok()?;
    (table_name(table, set) == name).then_some((table, set))
}

/// Drops tables, in small steps beside a service on SQLite.
pub(super) struct Sweep<'a, 'c> {
    pub company: Company<'c>,
    pub connection: &'a mut WriteConnection,
    pub turns: &'a mut Turns<'c>,
}

impl Sweep<'_, '_> {
    /// Drops every table that is not in force. One that is another role's is emptied; answers those that could not even be.
    pub(super) async fn all_but(&mut self, names: &str, layout: &Layout) -> sqlx::Result<Vec<String>> {
        let mut left = Vec::new();
        for (table, set) in leftovers(self.connection, names, layout).await? {
            let name = table_name(table, set);
            let Err(error) = self.drop_table(table, set).await else { continue };
            match self.connection.run_plain(&format!("DELETE FROM {name}")).await {
                Ok(0) => {}
                Ok(_) => tracing::warn!(%error, name, "a table that nobody asks could only be emptied, not dropped"),
                Err(error) => {
                    tracing::warn!(%error, name, "a table that nobody asks could be neither dropped nor emptied");
                    left.push(name);
                }
            }
        }
        Ok(left)
    }

    async fn drop_table(&mut self, table: &Table, set: i64) -> sqlx::Result<()> {
        let name = table_name(table, set);
        if self.company.gate.is_some() {
            // To drop a large table at once would keep the writer waiting.
            let some = delete_some(table, &name, ROWS_IN_TURNS);
            let delete = async |connection: &mut WriteConnection| connection.run_plain(&some).await;
            while let Ok(1..) = self.turns.take(self.connection, delete).await {}
        }
        // What tells nothing of anybody need not be overwritten, and is the most.
        for index in table.indexes.iter().filter(|index| !table.is_personal_index(index)) {
            let drop = format!("DROP INDEX IF EXISTS {}", index_name(table, set, index));
            self.drop_by(&drop, Overwrite::WhereFree).await?;
        }
        let overwrite = if table.is_personal() { Overwrite::Always } else { Overwrite::WhereFree };
        self.drop_by(&format!("DROP TABLE IF EXISTS {name}"), overwrite).await
    }

    async fn drop_by(&mut self, sql: &str, overwrite: Overwrite) -> sqlx::Result<()> {
        let _turn = self.company.turn().await;
        self.connection.overwrite_deleted(overwrite).await?;
        let dropped = self.connection.simple(sql).await;
        self.connection.overwrite_deleted(Overwrite::Always).await?;
        dropped
    }
}
