//! Empty databases on the cluster that `xtask` has started.

use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use url::Url;
use uuid::Uuid;

use crate::Failure;

pub(crate) async fn create_database(server: &str) -> Result<(), Failure> {
    let name = format!("bench_{}", Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(server).await?;
    sqlx::query(&format!("CREATE DATABASE {name}")).execute(&mut connection).await?;
    connection.close().await?;
    let mut url = Url::parse(server)?;
    url.set_path(&name);
    println!("{}", json!({ "url": url.as_str() }));
    Ok(())
}
