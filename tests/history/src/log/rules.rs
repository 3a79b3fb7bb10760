//! The log's own rules, checked on a whole log: whatever was raced, killed or refused, these hold.
//!
//! Like [`super::model`], which says who everybody is at each position, this is written from the contract and shares no code
//! with the aggregates. It reads unit by unit: what a call may do is judged by what the log said before the call's first event.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Event;
use super::model::{Model, User};

/// The failed verifications that a bootstrap token takes at most.
const FAILURES_A_TOKEN: u64 = 5;
/// What is personal or secret, wherever it stands in a payload or in metadata.
const SEALED_FIELDS: [&str; 8] =
    ["address", "subject", "display_name", "picture", "name", "client_secret", "source_address", "user_agent"];

/// Every breach of a rule, each with the position where it was seen.
pub fn broken_rules(log: &[Event]) -> Vec<String> {
    let mut judge = Judge::default();
    judge.order(log);
    let mut rest = log;
    while let Some(first) = rest.first() {
        let unit_id = &first.metadata["unit_id"];
        let length = rest.iter().take_while(|event| event.metadata["unit_id"] == *unit_id).count();
        let (unit, later) = rest.split_at(length);
        judge.unit(unit);
        rest = later;
    }
    judge.broken
}

#[derive(Default)]
struct Judge {
    model: Model,
    units: BTreeSet<String>,
    token_hashes: BTreeSet<String>,
    bootstrap: Option<Bootstrap>,
    provider_issuer: Option<String>,
    broken: Vec<String>,
}

/// The present bootstrap token.
struct Bootstrap {
    failures: u64,
    consumed: bool,
    expires_at: i64,
}

/// Who acts in a unit, and with which role, as the log stood before it.
struct Acting<'a> {
    user: Option<&'a str>,
    role: Option<String>,
    command: &'a str,
    kind: &'a str,
}

fn rank(role: &str) -> u8 {
    match role {
        "owner" => 4,
        "admin" => 3,
        "developer" => 2,
        "qa_viewer" => 1,
        _ => 0,
    }
}

/// Whether somebody of `role` decides over somebody of `other`.
fn outranks(role: Option<&str>, other: &str) -> bool {
    role.is_some_and(|role| rank(role) >= rank("admin") && rank(role) > rank(other))
}

/// Who acts, and whether each rule about acting at all holds, as the log stood before the unit.
fn acting<'a>(before: &Model, actor: &'a str, command: &'a str, now: i64) -> (Acting<'a>, Vec<(bool, &'static str)>) {
    let (kind, rest) = actor.split_once('/').unwrap_or((actor, ""));
    let mut acting = Acting { user: None, role: None, command, kind };
    let role_of = |id: &str| before.users.get(id).filter(|user| is_active(user)).map(|user| user.role.clone());
    let rules = match kind {
        "user" => {
            (acting.user, acting.role) = (Some(rest), role_of(rest));
            let mut sessions = before.sessions.iter();
            let alive = sessions.any(|(id, s)| s.user_id.as_deref() == Some(rest) && before.session_is_alive(id, now));
            let signs_in = command == "sign_in";
            vec![
                (signs_in || acting.role.is_some(), "only an active user acts"),
                (signs_in || alive, "a user acts only with a live session"),
            ]
        }
        "api_token" => {
            let (token, user) = rest.split_once("/user/").unwrap_or((rest, ""));
            let roles = [before.api_tokens.get(token).map(|token| token.role.clone()), role_of(user)];
            acting.user = Some(user);
            acting.role = roles.into_iter().flatten().min_by_key(|role| rank(role));
            vec![(before.token_is_alive(token, now), "a token acts only while it is alive")]
        }
        "setup_session" => {
            let setup = before.setup.as_ref();
            let present =
                setup.is_some_and(|setup| setup.session_id.as_deref() == Some(rest) && setup.state != "ready");
            let alive = before.sessions.get(rest).is_some_and(|s| s.expired == 0 && s.expires_at > now);
            vec![(present && alive, "only the present setup session acts, until setup is ready")]
        }
        _ => vec![(["operator", "system", "anonymous"].contains(&kind), "the actor is one of the contract's")],
    };
    (acting, rules)
}

impl Judge {
    fn rule(&mut self, holds: bool, event: &Event, rule: &str) {
        if !holds {
            self.broken.push(format!("{event}: {rule}"));
        }
    }

    /// Positions, sequences, times and hashes, which need to know nothing of what events mean.
    fn order(&mut self, log: &[Event]) {
        let mut sequences: BTreeMap<&str, i64> = BTreeMap::new();
        let mut recorded_at = i64::MIN;
        for (event, position) in log.iter().zip(1..) {
            self.rule(event.position == position, event, "positions are 1, 2, 3, ...");
            let sequence = sequences.entry(&event.stream).or_default();
            *sequence += 1;
            let expected = *sequence;
            self.rule(event.sequence == expected, event, "a stream's sequence is 1, 2, 3, ... in the log's order");
            self.rule(event.recorded_at >= recorded_at, event, "recorded_at never runs backwards");
            recorded_at = event.recorded_at;
            let flat = event.metadata.as_object().is_some_and(|fields| fields.values().all(Value::is_string));
            self.rule(flat, event, "metadata is a flat map of strings");
            let first = position == 1;
            self.rule((event.event_type == "InstanceCreated") == first, event, "a log begins with InstanceCreated");
        }
    }

    fn unit(&mut self, unit: &[Event]) {
        let first = &unit[0];
        let metadata = &first.metadata;
        let unit_id = metadata["unit_id"].as_str().unwrap_or_default().to_owned();
        let new = self.units.insert(unit_id);
        self.rule(new, first, "the events of a unit stand together");
        for event in unit {
            let own = &event.metadata;
            let same = own["actor"] == metadata["actor"] && own["command"] == metadata["command"];
            self.rule(same, event, "the events of a unit have one actor and one command");
            self.rule(event.recorded_at == first.recorded_at, event, "the events of a unit have one time");
        }
        let actor = metadata["actor"].as_str().unwrap_or_default();
        let command = metadata["command"].as_str().unwrap_or_default();
        let (acting, may) = acting(&self.model, actor, command, first.recorded_at.div_euclid(1_000_000));
        for (holds, rule) in may {
            self.rule(holds, first, rule);
        }
        for event in unit {
            self.event(&acting, event);
            if let Err(why) = self.model.apply(event) {
                self.rule(false, event, &why);
            }
        }
        let owners = self.model.users.values().filter(|user| user.role == "owner").count();
        self.rule(owners <= 1, first, "there is one owner");
    }

    fn event(&mut self, acting: &Acting<'_>, event: &Event) {
        let fields = event.fields();
        self.sealed(event, fields);
        self.sealed(event, &event.metadata);
        match event.kind() {
            "setup" => self.setup_event(acting, event, fields),
            "session" => self.session_event(acting, event, fields),
            "user" => self.user_event(acting, event, fields),
            "api_token" => self.token_event(acting, event, fields),
            "identity_provider" => self.provider_event(acting, event, fields),
            other => self.rule(false, event, &format!("{other} is no aggregate")),
        }
    }

    /// What is personal or secret stands in the log only sealed, and what is personal with a key of that person.
    fn sealed(&mut self, event: &Event, value: &Value) {
        let Some(fields) = value.as_object() else { return };
        for (name, value) in fields {
            if let (true, Some(text)) = (SEALED_FIELDS.contains(&name.as_str()), value.as_str()) {
                let form = text.split_once(':').is_some_and(|(key, sealed)| {
                    let (kind, id) = key.split_once('/').unwrap_or((key, ""));
                    let known = match kind {
                        "instance" => name == "client_secret",
                        "strangers" => id.len() == "2026-11".len(),
                        // The person is the user of the stream, of the pinned owner, of the token or the actor.
                        "person" => uuid::Uuid::parse_str(id).is_ok(),
                        _ => false,
                    };
                    known
                        && sealed.len() > 80
                        && sealed.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
                });
                self.rule(form, event, &format!("{name} is sealed"));
                let own = event.kind() != "user"
                    || ["source_address", "user_agent"].contains(&name.as_str())
                    || text.starts_with(&format!("person/{}:", event.id()));
                self.rule(own, event, &format!("{name} is sealed with the key of its person"));
            }
            self.sealed(event, value);
        }
    }

    fn setup_event(&mut self, acting: &Acting<'_>, event: &Event, fields: &Value) {
        let state = self.model.setup.as_ref().map(|setup| setup.state.clone()).unwrap_or_default();
        self.rule(state != "ready", event, "ready is terminal");
        let now = event.recorded_at.div_euclid(1_000_000);
        match event.event_type.as_str() {
            "InstanceCreated" => self.rule(acting.kind == "system", event, "the service makes the instance"),
            "BootstrapTokenIssued" => {
                self.rule(acting.kind == "operator", event, "bootstrap tokens are issued on the host");
                self.new_token_hash(event, fields);
                let expires_at = fields["expires_at"].as_i64().unwrap_or_default();
                self.bootstrap = Some(Bootstrap { failures: 0, consumed: false, expires_at });
            }
            "VerificationFailed" | "BootstrapTokenVerified" => {
                self.rule(acting.kind == "anonymous", event, "whoever verifies is not known yet");
                let (failures, consumed, expires_at) = self
                    .bootstrap
                    .as_ref()
                    .map_or((0, true, 0), |token| (token.failures, token.consumed, token.expires_at));
                self.rule(!consumed, event, "a bootstrap token is verified while there is one that was not used");
                self.rule(expires_at > now - 2, event, "an expired bootstrap token is not verified");
                self.rule(failures < FAILURES_A_TOKEN, event, "after five failures a bootstrap token is locked");
                let failed = event.event_type == "VerificationFailed";
                if failed {
                    self.rule(fields["failures"] == failures + 1, event, "failures are counted one by one");
                }
                if let Some(token) = &mut self.bootstrap {
                    token.failures += u64::from(failed);
                    token.consumed |= !failed;
                }
            }
            "OwnerVerified" => self.rule(state == "idp_configured", event, "an owner needs a provider"),
            "SetupCompleted" => self.rule(state == "owner_created", event, "setup ends with an owner"),
            "SetupProviderAccepted" => {
                let expected = ["bootstrap_pending", "idp_configured"].contains(&state.as_str());
                self.rule(expected, event, "setup has a place for the provider");
            }
            "SetupRestarted" => {
                self.rule(acting.kind == "operator", event, "setup is restarted on the host");
                self.bootstrap = None;
            }
            _ => {}
        }
    }

    fn session_event(&mut self, acting: &Acting<'_>, event: &Event, fields: &Value) {
        let id = event.id();
        let present = self.model.sessions.get(id).cloned();
        let opens = ["SetupSessionOpened", "SessionOpened"].contains(&event.event_type.as_str());
        self.rule(opens != present.is_some(), event, "nothing happens to a session that was ended");
        let user_epoch = |user: &str| self.model.users.get(user).map(|user| user.session_epoch);
        let provider_epoch = self.model.provider.as_ref().map_or(0, |provider| provider.session_epoch);
        let owner = present.and_then(|session| session.user_id);
        match event.event_type.as_str() {
            "SetupSessionOpened" => self.new_token_hash(event, fields),
            "SessionOpened" => {
                let user = fields["user_id"].as_str().unwrap_or_default();
                let (epoch, active) = (user_epoch(user), self.model.users.get(user).is_some_and(is_active));
                self.rule(active, event, "only an active user gets a session");
                self.rule(
                    acting.command == "sign_in" && acting.user == Some(user),
                    event,
                    "who signs in gets a session",
                );
                self.rule(fields["user_epoch"].as_u64() == epoch, event, "a session opens in its user's epoch");
                self.rule(fields["provider_epoch"] == provider_epoch, event, "a session opens in the provider's epoch");
                self.new_token_hash(event, fields);
            }
            "SessionKept" => {
                let epoch = owner.as_deref().and_then(user_epoch);
                self.rule(fields["user_epoch"].as_u64() == epoch, event, "a session is kept in its user's epoch");
                self.rule(
                    fields["provider_epoch"] == provider_epoch,
                    event,
                    "a session is kept in the provider's epoch",
                );
            }
            "SessionSignedOut" => self.rule(acting.user == owner.as_deref(), event, "one signs out oneself"),
            "SessionRevoked" => self.ended_by(acting, event, owner.as_deref()),
            _ => {}
        }
    }

    /// One's own always; somebody else's by rank; never with an API token.
    fn ended_by(&mut self, acting: &Acting<'_>, event: &Event, owner: Option<&str>) {
        self.rule(acting.kind == "user", event, "only a session ends sessions and tokens");
        let role = owner.and_then(|owner| self.model.users.get(owner)).map(|user| user.role.clone());
        let may = role.is_some_and(|role| outranks(acting.role.as_deref(), &role));
        self.rule(may || acting.user == owner, event, "sessions and tokens end by their user or by rank");
    }

    fn user_event(&mut self, acting: &Acting<'_>, event: &Event, fields: &Value) {
        let id = event.id();
        let target = self.model.users.get(id).cloned();
        let begins = ["OwnerRegistered", "UserInvited"].contains(&event.event_type.as_str());
        self.rule(begins != target.is_some(), event, "a user begins once");
        let (role, status) = target.map(|user| (user.role, user.status)).unwrap_or_default();
        let over = |other: &str| !other.is_empty() && outranks(acting.role.as_deref(), other);
        let by = |field: &str| fields[field].as_str().is_some() && fields[field].as_str() == acting.user;
        let given = fields["role"].as_str().unwrap_or_default();
        match event.event_type.as_str() {
            "OwnerRegistered" => self.rule(acting.kind == "setup_session", event, "setup makes the owner"),
            "OwnerDiscarded" => self.rule(acting.kind == "operator", event, "the owner is discarded on the host"),
            "UserErased" => {
                let may = acting.kind == "operator" || acting.role.as_deref() == Some("owner") && by("erased_by");
                self.rule(may && role != "owner", event, "the owner, or the host, erases anybody else");
            }
            "UserInvited" => {
                self.rule(over(given), event, "one invites below one's own role, owner and admin only");
                self.rule(by("invited_by"), event, "the event names who acts");
            }
            "InvitationAccepted" => {
                self.rule(status == "invited" && acting.user == Some(id), event, "an invitation waits to be accepted");
            }
            "RoleChanged" => {
                self.rule(over(&role) && over(given), event, "a role is changed by somebody above both");
                self.rule(by("changed_by") && acting.user != Some(id), event, "nobody changes themselves");
                self.rule(role != given, event, "a change changes something");
            }
            "UserDisabled" => {
                self.rule(over(&role), event, "users are disabled by rank");
                self.rule(by("disabled_by") && acting.user != Some(id), event, "nobody disables themselves");
                self.rule(status != "disabled", event, "a change changes something");
            }
            "UserEnabled" => {
                self.rule(over(&role) && by("enabled_by"), event, "users are enabled by rank");
                self.rule(status == "disabled", event, "a change changes something");
            }
            "SessionsRevoked" => self.ended_by(acting, event, Some(id)),
            "OwnerRecoveryOpened" => {
                self.rule(acting.kind == "operator" && role == "owner", event, "the owner is recovered on the host");
            }
            "OwnerIdentityReplaced" => self.rule(role == "owner", event, "only the owner is recovered"),
            _ => {}
        }
    }

    fn token_event(&mut self, acting: &Acting<'_>, event: &Event, fields: &Value) {
        let present = self.model.api_tokens.get(event.id()).map(|token| token.user_id.clone());
        if event.event_type == "ApiTokenRevoked" {
            self.ended_by(acting, event, present.as_deref());
            return;
        }
        let role = fields["role"].as_str().unwrap_or_default();
        let user = fields["user_id"].as_str().unwrap_or_default();
        let epoch = self.model.users.get(user).map(|user| user.token_epoch);
        let own = acting.role.as_deref().is_some_and(|own| rank(own) >= rank("developer") && rank(own) >= rank(role));
        self.rule(acting.kind == "user" && acting.user == Some(user), event, "one issues tokens for oneself");
        self.rule(own && role != "owner", event, "a token has at most the role of who issues it");
        self.rule(fields["token_epoch"].as_u64() == epoch, event, "a token is issued in its user's epoch");
        self.new_token_hash(event, fields);
    }

    fn provider_event(&mut self, acting: &Acting<'_>, event: &Event, fields: &Value) {
        let (version, epoch) = self.model.provider.as_ref().map_or((0, 0), |p| (p.version, p.session_epoch));
        match event.event_type.as_str() {
            "ProviderConfigured" => {
                let owner = acting.kind == "user" && acting.role.as_deref() == Some("owner");
                let may = owner || ["setup_session", "operator"].contains(&acting.kind);
                self.rule(may, event, "the owner, setup or the host choose the provider");
                let issuer = fields["issuer_url"].as_str().map(str::to_owned);
                let changed = self.provider_issuer.is_some() && self.provider_issuer != issuer;
                self.provider_issuer = issuer;
                self.rule(fields["version"] == version + 1, event, "configurations are counted one by one");
                self.rule(
                    fields["session_epoch"] == epoch + u64::from(changed),
                    event,
                    "another issuer raises the epoch, and nothing else does",
                );
            }
            "ProviderRemoved" => {
                self.rule(acting.kind == "operator", event, "the provider is removed on the host");
                self.rule(fields["version"] == version + 1, event, "configurations are counted one by one");
            }
            _ => {
                self.rule(acting.kind == "system", event, "the service counts refusals");
                let minute = event.id().strip_prefix("refused-").and_then(|seconds| seconds.parse::<i64>().ok());
                let counted = |minute| minute % 60 == 0 && minute * 1_000_000 <= event.recorded_at;
                self.rule(minute.is_some_and(counted), event, "refusals are counted by the minute");
                self.rule(fields["count"].as_u64() > Some(0), event, "a count counts something");
            }
        }
    }

    fn new_token_hash(&mut self, event: &Event, fields: &Value) {
        let hash = fields["token_hash"].as_str().unwrap_or_default();
        let form = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.rule(form, event, "of a token there is its SHA-256");
        let new = self.token_hashes.insert(hash.to_owned());
        self.rule(new, event, "no token is given out twice");
    }
}

fn is_active(user: &User) -> bool {
    user.status == "active"
}
