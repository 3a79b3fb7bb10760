//! Pages of a list: how many items, from where, in which order. Everything is from a closed set or
//! within bounds before it gets near a database.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::settings::limits::{PAGE_DEFAULT, PAGE_MAX};

/// `limit` and `offset` of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Items on the page.
    #[serde(default = "default_limit", deserialize_with = "limit")]
    #[param(default = 50, minimum = 1, maximum = 200)]
    pub limit: u32,
    /// Items before it.
    #[serde(default, deserialize_with = "offset")]
    #[param(default = 0, maximum = 4_294_967_295_u32, format = Int64)]
    pub offset: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: PAGE_DEFAULT, offset: 0 }
    }
}

fn default_limit() -> u32 {
    PAGE_DEFAULT
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole_number(deserializer)?
        .filter(|limit| (1..=PAGE_MAX).contains(limit))
        .ok_or_else(|| D::Error::custom(format_args!("must be a whole number from 1 to {PAGE_MAX}")))
}

fn offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole_number(deserializer)?
        .ok_or_else(|| D::Error::custom(format_args!("must be a whole number from 0 to {}", u32::MAX)))
}

/// Digits only: no sign, no blanks.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    Ok(text.parse().ok().filter(|_| digits))
}

/// Which way a list is sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Smallest, oldest, first of the alphabet first.
    Asc,
    /// The other way; what a list does when nobody says.
    #[default]
    Desc,
}

/// `sort` and `direction` of a list, `S` being the enum of what it can be sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Sorting<S: Default> {
    /// By what; the enum's default when nobody says.
    pub sort: S,
    /// Which way.
    pub direction: Direction,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::extract::FromRequestParts as _;
    use axum::http::Request;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::http::Query;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum UserSort {
        #[default]
        CreatedAt,
        Email,
    }

    async fn query<T: DeserializeOwned>(query: &str) -> Result<T, String> {
        let (mut parts, ()) = Request::get(format!("/?{query}")).body(()).unwrap().into_parts();
        let query = Query::from_request_parts(&mut parts, &()).await;
        query.map(|Query(value)| value).map_err(|error| error.message().to_owned())
    }

    #[tokio::test]
    async fn a_page_has_fifty_items_unless_said_and_two_hundred_at_most() {
        assert_eq!(query("").await, Ok(Page { limit: 50, offset: 0 }));
        assert_eq!(query("limit=1&offset=4294967295").await, Ok(Page { limit: 1, offset: u32::MAX }));
        assert_eq!(query("limit=200").await, Ok(Page { limit: 200, offset: 0 }));
        for limit in ["0", "201", "-1", "", "+5", "5.0", "1e2", "%205", "99999999999", "all"] {
            assert_eq!(
                query::<Page>(&format!("limit={limit}")).await,
                Err("`limit` must be a whole number from 1 to 200.".into()),
                "{limit}"
            );
        }
        for offset in ["-1", "", "x", "4294967296"] {
            assert_eq!(
                query::<Page>(&format!("offset={offset}")).await,
                Err("`offset` must be a whole number from 0 to 4294967295.".into()),
                "{offset}"
            );
        }
    }

    #[tokio::test]
    async fn sorting_knows_its_own_columns_and_no_sql() {
        let newest = Sorting { sort: UserSort::CreatedAt, direction: Direction::Desc };
        assert_eq!(query("").await, Ok(newest));
        let by_email = Sorting { sort: UserSort::Email, direction: Direction::Asc };
        assert_eq!(query("sort=email&direction=asc").await, Ok(by_email));
        assert_eq!(
            query::<Sorting<UserSort>>("sort=email;drop%20table%20users").await,
            Err("`sort` is not accepted: expected `created_at` or `email`.".into())
        );
        assert_eq!(
            query::<Sorting<UserSort>>("direction=ASC").await,
            Err("`direction` is not accepted: expected `asc` or `desc`.".into())
        );
    }
}
