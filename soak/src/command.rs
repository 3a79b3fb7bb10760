//! Commands of authlog's own command line, on the instance that is played with.

use std::time::Duration;

use crate::Failure;
use crate::node::command;
use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) async fn run(world: &World, arguments: &[&str]) -> Result<Done, Failure> {
    let mut command = command(&world.program);
    let running = command.args(arguments).args(&world.flags).output();
    let output = tokio::time::timeout(PATIENCE, running).await.map_err(|_| format!("{arguments:?} does not end"))??;
    Ok(Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
