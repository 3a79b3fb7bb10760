//! The whole way from an empty instance to an invited user, as a client would go it. Every answer
//! is compared with what the contract says; the first that differs ends the walk.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::failure::{Failure, While};
use crate::http::{self, Request, Response};

/// Strings longer than this are cut when printed: tokens are, an address or a UUID is not.
const LONGEST_PRINTED: usize = 40;

/// The running authlog.
pub(crate) struct Service {
    /// Without a slash at the end.
    pub(crate) url: String,
    pub(crate) binary: PathBuf,
    pub(crate) data_folder: PathBuf,
    /// Settings by their variables, for the server and for the commands beside it.
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Service {
    /// The `authlog` binary, undisturbed by settings in the caller's environment.
    pub(crate) fn command(&self, subcommand: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("AUTHLOG_") {
                command.env_remove(name);
            }
        }
        command.args(subcommand).arg("--data-dir").arg(&self.data_folder);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = self.data_folder.parent() {
            // Where there is no authlog.toml.
            command.current_dir(folder);
        }
        command
    }
}

/// The running devidp and the client it knows.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) client_id: &'static str,
    pub(crate) client_secret: &'static str,
}

/// An account at the provider.
#[derive(Clone, Copy)]
struct Person {
    account: &'static str,
    email: &'static str,
    role: &'static str,
}

const ALICE: Person = Person { account: "alice", email: "alice@example.com", role: "owner" };
const BOB: Person = Person { account: "bob", email: "bob@example.com", role: "developer" };

/// Walks it; an error names the step and shows the whole answer.
pub(crate) fn walk(service: &Service, provider: &Provider) -> Result<(), Failure> {
    let mut walk = Walk { service, steps: 0 };
    let owner = walk.set_up(provider)?;
    let developer = walk.sign_in(BOB)?;
    walk.refuse_the_audit_log(&developer)?;
    walk.read_the_audit_log(&owner)?;
    walk.read_the_log()?;
    println!("\nEvery answer was as expected.");
    Ok(())
}

/// Goes as far as a ready instance with somebody invited; the answer is the owner's session token.
pub(crate) fn set_up(service: &Service, provider: &Provider) -> Result<String, Failure> {
    Walk { service, steps: 0 }.set_up(provider)
}

struct Walk<'a> {
    service: &'a Service,
    steps: usize,
}

/// What one call sends, beside its method and path.
#[derive(Clone, Copy, Default)]
struct With<'a> {
    bearer: Option<&'a str>,
    body: Option<&'a Value>,
}

/// What an answer must hold: its status, and values by JSON pointer.
struct Expected<'a> {
    status: u16,
    values: &'a [(&'a str, Value)],
}

impl Walk<'_> {
    fn set_up(&mut self, provider: &Provider) -> Result<String, Failure> {
        let setup_session = self.open_setup()?;
        self.configure(provider, &setup_session)?;
        self.become_owner(&setup_session)?;
        self.complete(&setup_session)?;
        let owner = self.sign_in(ALICE)?;
        self.invite_bob(&owner)?;
        Ok(owner)
    }

    fn open_setup(&mut self) -> Result<String, Failure> {
        self.say("an empty instance waits for its setup");
        let status = self.get(
            "/v1/public/setup-status",
            None,
            &[("/state", json!("uninitialized")), ("/is_configured", json!(false))],
        )?;
        text(&status, "/instance_id")?;

        self.say("whoever is on the host issues a bootstrap token");
        let issued = self.authlog(&["setup", "token", "--json"])?;
        let issued: Value = serde_json::from_str(&issued).while_doing("reading the token")?;
        println!("      {}", shortened(&issued));
        let token = text(&issued, "/token")?;

        self.say("the token opens a setup session, once");
        let body = json!({ "token": token });
        let opened = self.post("/v1/setup/bootstrap-token/verify", None, &body, &[])?;
        let session = text(&opened, "/session_token")?;

        self.say("the same token again is refused");
        self.call(
            "POST",
            "/v1/setup/bootstrap-token/verify",
            With { bearer: None, body: Some(&body) },
            &Expected { status: 410, values: &[("/code", json!("token_consumed"))] },
        )?;
        Ok(session)
    }

    fn configure(&mut self, provider: &Provider, session: &str) -> Result<(), Failure> {
        self.say("how the instance is run");
        let preferences = json!({ "runtime_mode": "remote", "remote_auth_mode": "oidc" });
        let expected = [("/runtime_mode", json!("remote")), ("/remote_auth_mode", json!("oidc"))];
        self.post("/v1/setup/preferences", Some(session), &preferences, &expected)?;

        self.say("which OpenID provider signs people in");
        let configuration = json!({
            "issuer_url": provider.issuer,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
        });
        let expected = [("/state", json!("idp_configured")), ("/discovered_issuer", json!(provider.issuer))];
        self.post("/v1/setup/oidc/configure", Some(session), &configuration, &expected)?;
        Ok(())
    }

    fn become_owner(&mut self, session: &str) -> Result<(), Failure> {
        self.say("the owner is sent to the provider");
        let redirect_uri = json!({ "redirect_uri": format!("{}/auth/callback", self.service.url) });
        let started = self.post("/v1/setup/owner/start-oidc", Some(session), &redirect_uri, &[])?;
        let answer = at_the_provider(&started, ALICE)?;

        self.say("and comes back as the owner");
        let expected = [("/state", json!("owner_created")), ("/owner_email", json!(ALICE.email))];
        self.post("/v1/setup/owner/verify-oidc", Some(session), &answer, &expected)?;
        Ok(())
    }

    fn complete(&mut self, session: &str) -> Result<(), Failure> {
        self.say("what was set up");
        let expected = [
            ("/state", json!("owner_created")),
            ("/has_client_secret", json!(true)),
            ("/owner_email", json!(ALICE.email)),
        ];
        self.get("/v1/setup/summary", Some(session), &expected)?;

        self.say("setup ends, for good");
        let expected = [("/state", json!("ready"))];
        self.post("/v1/setup/complete", Some(session), &json!({}), &expected)?;
        Ok(())
    }

    /// Signs a person in; the answer is the session's token.
    fn sign_in(&mut self, person: Person) -> Result<String, Failure> {
        self.say(&format!("{} signs in", person.account));
        let started = self.get("/v1/auth/oidc/start", None, &[])?;
        let answer = at_the_provider(&started, person)?;
        let user = [("/user/email", json!(person.email)), ("/user/role", json!(person.role))];
        let signed_in = self.post("/v1/auth/oidc/callback", None, &answer, &user)?;
        let token = text(&signed_in, "/session_token")?;

        self.say("and is who the session says");
        let user = [
            ("/user/email", json!(person.email)),
            ("/user/role", json!(person.role)),
            ("/user/status", json!("active")),
        ];
        self.get("/v1/users/me", Some(&token), &user)?;
        Ok(token)
    }

    fn invite_bob(&mut self, owner: &str) -> Result<(), Failure> {
        self.say("the owner invites bob");
        let invitation = json!({ "email": BOB.email, "role": BOB.role });
        let values = [("/user/email", json!(BOB.email)), ("/user/status", json!("invited"))];
        self.call(
            "POST",
            "/v1/users/invite",
            With { bearer: Some(owner), body: Some(&invitation) },
            &Expected { status: 201, values: &values },
        )?;
        Ok(())
    }

    fn refuse_the_audit_log(&mut self, developer: &str) -> Result<(), Failure> {
        self.say("a developer may not read the audit log");
        self.call(
            "GET",
            "/v1/audit-logs",
            With { bearer: Some(developer), body: None },
            &Expected { status: 403, values: &[("/code", json!("forbidden"))] },
        )?;
        Ok(())
    }

    fn read_the_audit_log(&mut self, owner: &str) -> Result<(), Failure> {
        self.say("the owner may: who invited whom");
        let expected = [
            ("/total", json!(1)),
            ("/entries/0/action", json!("user_invited")),
            ("/entries/0/actor_email", json!(ALICE.email)),
        ];
        self.get("/v1/audit-logs?action=user_invited", Some(owner), &expected)?;
        Ok(())
    }

    /// Every event, in its order; the positions must be 1, 2, 3, ... without a gap.
    fn read_the_log(&mut self) -> Result<(), Failure> {
        self.say("everything above, as the log has it");
        let lines = self.authlog(&["events", "--json"])?;
        let mut types = Vec::new();
        for (index, line) in lines.lines().enumerate() {
            let event: Value = serde_json::from_str(line).while_doing("reading an event")?;
            if event["position"] != json!(index + 1) {
                return Err(Failure::new(format!("position {} is missing: {line}", index + 1)));
            }
            let name = text(&event, "/type")?;
            println!("      {:>4}  {:<28} {}", index + 1, name, text(&event, "/stream")?);
            types.push(name);
        }
        let begins_well = types.first().is_some_and(|first| first == "InstanceCreated");
        if begins_well && types.iter().any(|name| name == "UserInvited") {
            return Ok(());
        }
        Err(Failure::new("the log does not begin with InstanceCreated or lacks UserInvited"))
    }

    fn say(&mut self, what: &str) {
        self.steps += 1;
        println!("\n{:>3}.  {what}", self.steps);
    }

    fn get(&self, path: &str, bearer: Option<&str>, values: &[(&str, Value)]) -> Result<Value, Failure> {
        self.call("GET", path, With { bearer, body: None }, &Expected { status: 200, values })
    }

    fn post(&self, path: &str, bearer: Option<&str>, body: &Value, values: &[(&str, Value)]) -> Result<Value, Failure> {
        let with = With { bearer, body: Some(body) };
        self.call("POST", path, with, &Expected { status: 200, values })
    }

    fn call(&self, method: &str, path: &str, with: With<'_>, expected: &Expected<'_>) -> Result<Value, Failure> {
        let With { bearer, body } = with;
        println!("      {method} {path} {}", body.map(shortened).unwrap_or_default());
        let url = format!("{}{path}", self.service.url);
        let response = http::send(Request { method, url: &url, bearer, body })?;
        let answer: Value = serde_json::from_str(&response.body).unwrap_or_default();
        println!("      {} {}", response.status, shortened(&answer));
        check(&response, &answer, expected).map_err(|difference| {
            Failure::new(format!(
                "step {}, {method} {path}: {difference}; the whole answer was\n{} {}",
                self.steps, response.status, response.body
            ))
        })?;
        Ok(answer)
    }

    /// Runs `authlog` beside the server; the answer is its standard output.
    fn authlog(&self, arguments: &[&str]) -> Result<String, Failure> {
        let spoken = format!("authlog {}", arguments.join(" "));
        println!("      {spoken}");
        let output = self.service.command(arguments).output().while_doing(&spoken)?;
        if output.status.success() {
            return String::from_utf8(output.stdout).while_doing(format!("reading {spoken}"));
        }
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failure::new(format!("`{spoken}` ended with {}: {complaint}", output.status)))
    }
}

/// Follows the authorization address as a browser would and signs in there. The answer is the
/// body that hands the provider's answer to authlog.
fn at_the_provider(started: &Value, person: Person) -> Result<Value, Failure> {
    let address = text(started, "/authorization_url")?;
    let Person { account, .. } = person;
    println!("      (at the provider: {account} signs in)");
    let url = format!("{address}&login_hint={account}&auto=1");
    let response = http::send(Request { method: "GET", url: &url, bearer: None, body: None })?;
    let location = response.header("location").unwrap_or_default();
    let (Some(code), Some(state)) = (http::query_parameter(location, "code"), http::query_parameter(location, "state"))
    else {
        return Err(Failure::new(format!(
            "the provider did not send {account} back with a code: {} {location}\n{}",
            response.status, response.body
        )));
    };
    if state != text(started, "/state")? {
        return Err(Failure::new("the provider answered with another state"));
    }
    let mut answer = json!({ "code": code, "state": state });
    if let Some(issuer) = http::query_parameter(location, "iss") {
        answer["iss"] = json!(issuer);
    }
    Ok(answer)
}

fn check(response: &Response, answer: &Value, expected: &Expected<'_>) -> Result<(), String> {
    if response.status != expected.status {
        return Err(format!("expected status {}", expected.status));
    }
    for (pointer, value) in expected.values {
        if answer.pointer(pointer) != Some(value) {
            return Err(format!("expected {value} at {pointer}"));
        }
    }
    Ok(())
}

fn text(answer: &Value, pointer: &str) -> Result<String, Failure> {
    let found = answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Failure::new(format!("there is no text at {pointer} in {answer}")))
}

/// The same JSON with its long strings cut, on one line.
fn shortened(value: &Value) -> String {
    fn shorten(value: &mut Value) {
        match value {
            Value::String(text) if text.chars().count() > LONGEST_PRINTED => {
                *text = text.chars().take(LONGEST_PRINTED / 4).chain(['…']).collect();
            }
            Value::Array(items) => items.iter_mut().for_each(shorten),
            Value::Object(fields) => fields.values_mut().for_each(shorten),
            _ => {}
        }
    }
    let mut copy = value.clone();
    shorten(&mut copy);
    copy.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::shortened;

    #[test]
    fn tokens_are_cut_and_addresses_are_not() {
        let answer = json!({ "token": "0123456789abcdef".repeat(4), "email": "a@example.com" });
        assert_eq!(shortened(&answer), r#"{"email":"a@example.com","token":"0123456789…"}"#);
    }
}
