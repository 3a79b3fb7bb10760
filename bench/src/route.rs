//! The route to compare with: axum, a JSON body, and nothing else.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::Failure;

#[derive(Args)]
pub(crate) struct RouteArgs {
    /// What `GET /v1/users/me` of authlog answers.
    #[arg(long)]
    body: String,
}

/// The answer of `GET /v1/users/me`, field for field: the bare route serializes it at every call, as authlog does.
#[derive(Clone, Serialize, Deserialize)]
struct Answer {
    user: User,
}

#[derive(Clone, Serialize, Deserialize)]
struct User {
    id: uuid::Uuid,
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    role: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
    created_at: i64,
    updated_at: i64,
}

/// Serves until it is killed.
pub(crate) async fn serve(args: RouteArgs) -> Result<(), Failure> {
    let answer: Answer = serde_json::from_str(&args.body)?;
    if serde_json::to_string(&answer)? != args.body {
        return Err("the bare route would answer other bytes than authlog does".into());
    }
    let router = Router::new().route("/v1/users/me", get(me)).with_state(answer);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listens on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // As authlog does.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn me(State(answer): State<Answer>) -> axum::Json<Answer> {
    axum::Json(answer)
}
