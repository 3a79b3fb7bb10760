//! The program itself, started on a free port with a database of its own, and a client that speaks the contract.

use std::process::Stdio;
use std::time::Duration;

use devidp::{Client as OidcClient, DevIdp, browser};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Backend, TestDatabase};

/// How long a server may take to say that it listens, and to stop.
const DEADLINE: Duration = Duration::from_secs(60);
/// Where browsers are sent back to in tests; nobody listens there.
pub const REDIRECT_URI: &str = "http://127.0.0.1:4173/auth/callback";

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The code of an error's envelope.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("no code")
    }

    /// Asserts status, code and that the rest is as every error's; prints the whole answer when it is another.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{self:?}");
        self.is_an_envelope();
    }

    /// The envelope of the contract, and the headers that go with the status.
    #[track_caller]
    fn is_an_envelope(&self) {
        let fields = self.body.as_object().unwrap();
        assert!(fields.keys().all(|name| ["error", "code", "details"].contains(&name.as_str())), "{self:?}");
        assert!(fields["error"].as_str().is_some_and(|words| !words.is_empty()), "{self:?}");
        assert!(fields.get("details").is_none_or(Value::is_string), "{self:?}");
        let header = |name: &str| self.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("content-type"), Some("application/json"), "{self:?}");
        assert_eq!(header("www-authenticate"), (self.status == 401).then_some("Bearer"), "{self:?}");
        assert!(header("x-request-id").is_some_and(|id| uuid::Uuid::parse_str(id).is_ok()), "{self:?}");
        let seconds = header("retry-after").map(|seconds| seconds.parse::<u32>().unwrap());
        let asks_again = ["rate_limited", "unavailable"].contains(&self.code());
        assert_eq!(seconds.is_some_and(|seconds| seconds > 0), asks_again, "{self:?}");
    }

    /// Asserts a status; answers the body.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self.body
    }
}

/// A running `authlog serve`. Killed when dropped.
pub struct Server {
    pub base: String,
    child: Child,
    /// All that it has written to stderr so far.
    pub output: std::sync::Arc<std::sync::Mutex<String>>,
    http: reqwest::Client,
    /// The flags that let another command find the same instance.
    pub flags: Vec<String>,
}

/// The flags by which a command finds the database and its key.
pub fn flags(database: &TestDatabase) -> Vec<String> {
    let folder = database.folder.path().display().to_string();
    let mut flags = vec!["--data-dir".to_owned(), folder];
    if let Some(url) = &database.url {
        flags.extend(["--database-url".to_owned(), url.clone()]);
    }
    flags
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authlog"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AUTHLOG_")) {
        command.env_remove(name);
    }
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Runs a command of the program to its end; answers exit code, stdout and stderr.
pub async fn run(flags: &[String], arguments: &[&str]) -> (i32, String, String) {
    let done = program().args(arguments).args(flags).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

impl Server {
    /// Starts a server with the default settings, but without a limit on public calls.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, &[]).await
    }

    /// The same with more settings, as environment variables (`("AUTHLOG_SESSION_TTL", "2s")`).
    pub async fn start_with(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        Self::start_as(program(), database, settings).await
    }

    /// The same under a command that runs its last arguments in its own place, as `strace -D` does.
    pub async fn start_under(wrapper: &[&str], database: &TestDatabase) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_authlog")).kill_on_drop(true).stdin(Stdio::null());
        Self::start_as(command, database, &[]).await
    }

    /// The same, reaching PostgreSQL by another URL, as through a proxy.
    pub async fn start_by(url: &str, database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        let mut flags = flags(database);
        url.clone_into(flags.last_mut().unwrap());
        Self::start_with_flags(program(), flags, settings).await
    }

    async fn start_as(command: Command, database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        Self::start_with_flags(command, flags(database), settings).await
    }

    async fn start_with_flags(mut command: Command, flags: Vec<String>, settings: &[(&str, &str)]) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(&flags);
        command.env("AUTHLOG_PUBLIC_CALLS_PER_MINUTE", "0").envs(settings.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let output = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let (heard, mut listens) = tokio::sync::mpsc::unbounded_channel();
        let kept = std::sync::Arc::clone(&output);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, base)) = line.split_once(" listens on ") {
                    let _ = heard.send(base.to_owned());
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let base = tokio::time::timeout(DEADLINE, listens.recv()).await.ok().flatten();
        let base = base.unwrap_or_else(|| panic!("the server did not start:\n{}", output.lock().unwrap()));
        // Another test of this process may have installed it; the client asks for one even where only http is spoken.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only(Vec::<reqwest::Certificate>::new())
            .build()
            .unwrap();
        Self { base, child, output, http, flags }
    }

    /// What its calls go through, for callers that live on their own.
    pub fn http(&self) -> reqwest::Client {
        self.http.clone()
    }

    /// Waits until what the server has said is as `told` wants it: an answer may come before the line about it has been read.
    pub async fn says(&self, told: impl Fn(&str) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !told(&self.output.lock().unwrap()) {
            assert!(tokio::time::Instant::now() < deadline, "{}", self.output.lock().unwrap());
            tokio::task::yield_now().await;
        }
    }

    /// Sends a call; `token` goes into the Authorization header, `body` as JSON.
    pub async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        self.try_call(method, path, token, body).await.unwrap_or_else(|error| {
            panic!("{path} was not answered: {error}\n{}", self.output.lock().unwrap());
        })
    }

    /// The same for a server that may be gone.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.request(method, path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        send(request).await
    }

    /// A request to be completed by hand; send it with [`send`].
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.call(Method::GET, path, token, None).await
    }

    pub async fn post(&self, path: &str, token: Option<&str>, body: Value) -> Answer {
        self.call(Method::POST, path, token, Some(body)).await
    }

    pub async fn delete(&self, path: &str, token: Option<&str>) -> Answer {
        self.call(Method::DELETE, path, token, None).await
    }

    /// Issues a bootstrap token by the command line, beside the running server.
    pub async fn bootstrap_token(&self) -> String {
        self.cli_json(&["setup", "token", "--json"]).await["token"].as_str().unwrap().to_owned()
    }

    /// Runs a command on the same instance and reads its one JSON document.
    pub async fn cli_json(&self, arguments: &[&str]) -> Value {
        let (code, stdout, stderr) = run(&self.flags, arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        serde_json::from_str(&stdout).unwrap()
    }

    /// The whole log by the command line, one JSON object an event.
    pub async fn events(&self) -> Vec<Value> {
        let (code, stdout, stderr) = run(&self.flags, &["events", "--json"]).await;
        assert_eq!(code, 0, "{stderr}");
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The types of the events in the log, in order.
    pub async fn event_types(&self) -> Vec<String> {
        self.events().await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    /// Verifies a new bootstrap token; answers the setup session's token.
    pub async fn open_setup_session(&self) -> String {
        let token = self.bootstrap_token().await;
        let opened = self.post("/v1/setup/bootstrap-token/verify", None, json!({ "token": token })).await.ok(200);
        opened["session_token"].as_str().unwrap().to_owned()
    }

    /// Sets the provider in setup.
    pub async fn configure(&self, setup: &str, issuer: &str) -> Answer {
        let body = json!({ "issuer_url": issuer, "client_id": "authlog-test", "client_secret": OidcClient::SECRET });
        self.post("/v1/setup/oidc/configure", Some(setup), body).await
    }

    /// Walks setup to its end with `alice` as owner; answers the owner's session token.
    pub async fn set_up(&self, provider: &DevIdp) -> String {
        let setup = self.open_setup_session().await;
        self.configure(&setup, provider.issuer()).await.ok(200);
        let begun =
            self.post("/v1/setup/owner/start-oidc", Some(&setup), json!({ "redirect_uri": REDIRECT_URI })).await;
        let callback = at_the_provider(&begun.ok(200), "alice").await;
        self.post("/v1/setup/owner/verify-oidc", Some(&setup), callback).await.ok(200);
        self.post("/v1/setup/complete", Some(&setup), json!({})).await.ok(200);
        self.sign_in("alice").await.ok(200)["session_token"].as_str().unwrap().to_owned()
    }

    /// Begins a sign-in and comes back from the provider: the body of the callback.
    pub async fn callback_body(&self, account: &str) -> Value {
        let begun = self.get(&format!("/v1/auth/oidc/start?redirect_uri={REDIRECT_URI}"), None).await.ok(200);
        at_the_provider(&begun, account).await
    }

    /// Signs `account` in; answers the callback's answer.
    pub async fn sign_in(&self, account: &str) -> Answer {
        let callback = self.callback_body(account).await;
        self.post("/v1/auth/oidc/callback", None, callback).await
    }

    /// Invites `{account}@example.com` and signs them in; answers (user id, session token).
    pub async fn join(&self, by: &str, account: &str, role: &str) -> (String, String) {
        let body = json!({ "email": format!("{account}@example.com"), "role": role });
        let user = self.post("/v1/users/invite", Some(by), body).await.ok(201);
        let signed_in = self.sign_in(account).await.ok(200);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&user["user"]["id"]), text(&signed_in["session_token"]))
    }

    /// Asks the server to stop and waits for it; answers its exit code.
    pub async fn stop(&mut self) -> i32 {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("the server did not stop:\n{}", self.output.lock().unwrap()));
        ended.unwrap().code().unwrap_or(-1)
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Stops the process as it is, in the middle of whatever it does.
    pub async fn freeze(&self) {
        self.signal("STOP").await;
    }

    /// Lets it go on.
    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.pid().to_string()]).status().await.unwrap();
        assert!(sent.success());
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }
}

/// Sends a request that was made by hand.
pub async fn send(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status, headers, body })
}

/// Signs in at the provider with the headless browser; answers the body of the callback.
pub async fn at_the_provider(begun: &Value, account: &str) -> Value {
    let url = begun["authorization_url"].as_str().unwrap();
    let signed_in = browser::sign_in(url, account, "password").await.unwrap();
    assert_eq!(begun["state"], signed_in.state.as_str());
    let mut body = json!({ "code": signed_in.code, "state": signed_in.state });
    if let Some(iss) = signed_in.iss {
        body["iss"] = iss.into();
    }
    body
}

/// A provider, a database and a server on it, set up, with the owner's session token.
pub struct Instance {
    pub provider: DevIdp,
    pub database: TestDatabase,
    pub server: Server,
    pub owner: String,
}

impl Instance {
    pub async fn ready(backend: Backend) -> Self {
        Self::ready_with(backend, &[]).await
    }

    pub async fn ready_with(backend: Backend, settings: &[(&str, &str)]) -> Self {
        let provider = DevIdp::start(devidp::Options::default()).unwrap();
        let database = TestDatabase::new(backend).await;
        let server = Server::start_with(&database, settings).await;
        let owner = server.set_up(&provider).await;
        Self { provider, database, server, owner }
    }
}
