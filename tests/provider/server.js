// A certified OpenID provider (the npm package oidc-provider) with accounts and clients for tests.
// Loopback only. Every setting of DEFAULTS is read from the environment as OP_<NAME>.
import http from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const DEFAULTS = {
  port: 0,                      // 0: any free one; the ready line names it
  client_id: 'authlog-test',
  client_secret: 'authlog-test-secret-0123456789abcdef',
  redirect_uris: 'http://127.0.0.1:8787/auth/callback http://localhost:8787/auth/callback', // space separated
  id_token_alg: 'RS256',        // RS256 PS256 ES256 EdDSA (clients -es256, -eddsa, -ps256, -hs256 are fixed)
  claims_in: 'id_token',        // id_token (most big providers) | userinfo (strict default of the library)
  auto_consent: false,          // true: skip the consent page
  exit_with_parent: false,      // true: end when standard input closes, so that no killed test leaves us behind
};
const cast = (k, v) => (typeof DEFAULTS[k] === 'number' ? Number(v)
  : typeof DEFAULTS[k] === 'boolean' ? /^(1|true|yes|on)$/i.test(String(v)) : String(v));
const S = Object.fromEntries(Object.keys(DEFAULTS).map((k) => [k, cast(k, process.env[`OP_${k.toUpperCase()}`] ?? DEFAULTS[k])]));

const PASSWORD = 'password';
const ACCOUNTS = {
  alice: { sub: 'alice-1', email: 'alice@example.com', email_verified: true, name: 'Alice Example' },
  bob: { sub: 'bob-1', email: 'bob@example.com', email_verified: true, name: 'Bob Example' },
  carol: { sub: 'carol-1', name: 'Carol Example' },
  eve: { sub: 'eve-1', email: 'eve@example.com', email_verified: false, name: 'Eve Example' },
  dave: { sub: 'dave-1', email: 'dave@example.com', name: 'Dave Example' },
};

// ---- signing keys, newest first; rotation rebuilds the provider on the same store
let serial = 0;
function freshKeys(reuse) {
  serial += 1;
  const kinds = { RS256: ['rsa', { modulusLength: 2048 }], PS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519'] };
  return Object.entries(kinds).map(([alg, [type, options]]) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig',
    kid: `${alg.toLowerCase()}-${reuse ?? serial}`,
  }));
}
let keys = freshKeys();

// ---- in-memory store, ours so that it outlives a rebuild of the provider (the library's own store is per provider)
const store = new Map();
class Store {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload, ttl) { store.set(this.key(id), { payload, until: ttl ? Date.now() + ttl * 1000 : Infinity }); }
  async find(id) {
    const e = store.get(this.key(id));
    if (e && e.until <= Date.now()) { store.delete(this.key(id)); return undefined; }
    return e?.payload;
  }
  async #by(test) {
    for (const [k, e] of store) if (k.startsWith(`${this.model}:`) && e.until > Date.now() && test(e.payload)) return e.payload;
    return undefined;
  }
  findByUid(uid) { return this.#by((p) => p.uid === uid); }
  findByUserCode(code) { return this.#by((p) => p.userCode === code); }
  async consume(id) { const p = await this.find(id); if (p) p.consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { store.delete(this.key(id)); }
  async revokeByGrantId(grantId) { for (const [k, e] of store) if (e.payload.grantId === grantId && !k.startsWith('Session:')) store.delete(k); }
}

function clients() {
  const base = {
    redirect_uris: S.redirect_uris.split(/\s+/).filter(Boolean), response_types: ['code'], grant_types: ['authorization_code'],
    scope: 'openid email profile', id_token_signed_response_alg: S.id_token_alg,
  };
  const confidential = (suffix, extra) => ({ ...base, client_id: S.client_id + suffix, client_secret: S.client_secret, ...extra });
  return [
    confidential('', {}),                                             // client_secret_basic (the default)
    confidential('-post', { token_endpoint_auth_method: 'client_secret_post' }),
    confidential('-odd', { client_secret: 'p+q/r:s%t&u=v w~0123456789abcdef' }), // breaks clients that skip form-encoding in Basic
    confidential('-es256', { id_token_signed_response_alg: 'ES256' }),
    confidential('-ps256', { id_token_signed_response_alg: 'PS256' }),
    confidential('-eddsa', { id_token_signed_response_alg: 'EdDSA' }),
    confidential('-hs256', { id_token_signed_response_alg: 'HS256' }),
    { ...base, client_id: `${S.client_id}-public`, token_endpoint_auth_method: 'none' },
  ];
}

const form = (title, body) => `<!doctype html><title>${title}</title><h1>${title}</h1><form method="post">${body}</form>`;
const esc = (s) => String(s).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

function build() {
  const provider = new Provider(S.issuer, {
    adapter: Store,
    clients: clients(),
    jwks: { keys: keys.map((k) => ({ ...k })) },
    cookies: { keys: ['test-cookie-key'], names: { session: 'op_session', interaction: 'op_interaction', resume: 'op_resume' } },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'picture'] },
    scopes: ['openid', 'email', 'profile'],
    conformIdTokenClaims: S.claims_in === 'userinfo',
    pkce: { required: () => true },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA', 'HS256'] },
    ttl: { AccessToken: 3600, AuthorizationCode: 60, IdToken: 3600, Session: 86400, Grant: 86400, Interaction: 3600 },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (ctx, i) => `/interaction/${i.uid}` },
    findAccount: (ctx, sub) => {
      const account = Object.values(ACCOUNTS).find((a) => a.sub === sub);
      return account && { accountId: sub, claims: () => ({ ...account }) };
    },
    // nothing here needs an outgoing call
    fetch: (url) => { throw new Error(`refused: ${url}`); },
    renderError: (ctx, out) => { ctx.type = 'json'; ctx.body = JSON.stringify(out); },
  });
  provider.on('server_error', (ctx, e) => console.error(e));
  return { provider, handle: provider.callback() };
}
let op;

async function readBody(req) {
  const parts = [];
  for await (const c of req) parts.push(c);
  return Buffer.concat(parts).toString();
}
const send = (res, status, type, body) => { res.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }); res.end(body); };
const json = (res, o, status = 200) => send(res, status, 'application/json', JSON.stringify(o));

async function grantAll(d) {
  const { provider } = op;
  const grant = (d.grantId && await provider.Grant.find(d.grantId)) || new provider.Grant({ accountId: d.session.accountId, clientId: d.params.client_id });
  const m = d.prompt.details;
  if (m.missingOIDCScope) grant.addOIDCScope(m.missingOIDCScope.join(' '));
  if (m.missingOIDCClaims) grant.addOIDCClaims(m.missingOIDCClaims);
  return { consent: { grantId: await grant.save() } };
}

async function interaction(req, res) {
  const { provider } = op;
  const d = await provider.interactionDetails(req, res);
  const finish = (result, merge = true) => provider.interactionFinished(req, res, result, { mergeWithLastSubmission: merge });
  const deny = () => finish({ error: 'access_denied', error_description: 'End-User aborted interaction' }, false);
  if (d.prompt.name === 'login') {
    const page = (msg) => send(res, msg ? 401 : 200, 'text/html', form('Sign in', `<p>${esc(msg ?? '')}</p><input name="login" type="text" value="${esc(d.params.login_hint ?? '')}"><input name="password" type="password"><button type="submit" name="answer" value="login">Sign in</button><button type="submit" name="answer" value="deny">Cancel</button>`));
    if (req.method !== 'POST') return page();
    const b = new URLSearchParams(await readBody(req));
    if (b.get('answer') === 'deny') return deny();
    const account = ACCOUNTS[String(b.get('login')).split('@')[0]];
    if (!account || b.get('password') !== PASSWORD) return page('wrong name or password');
    return finish({ login: { accountId: account.sub, amr: ['pwd'] } }, false);
  }
  if (req.method !== 'POST' && !S.auto_consent) {
    return send(res, 200, 'text/html', form('Consent', `<p>${esc(d.params.client_id)} asks for ${esc(d.params.scope)}</p><button type="submit" name="answer" value="accept">Allow</button><button type="submit" name="answer" value="deny">Deny</button>`));
  }
  if (req.method === 'POST' && new URLSearchParams(await readBody(req)).get('answer') === 'deny') return deny();
  return finish(await grantAll(d));
}

async function admin(req, res, path) {
  const body = req.method === 'POST' ? JSON.parse((await readBody(req)) || '{}') : {};
  if (path === '/__admin/rotate-keys') { // mode: add (old keys stay published) | replace (old keys vanish) | same_kid (new key, old kid)
    const mode = body.mode ?? 'add';
    const old = keys;
    if (!['add', 'replace', 'same_kid'].includes(mode)) return json(res, { error: `unknown mode ${mode}` }, 400);
    keys = mode === 'same_kid' ? freshKeys(keys[0].kid.split('-')[1]) : mode === 'add' ? [...freshKeys(), ...old] : freshKeys();
    op = build();
    return json(res, { kids: keys.map((k) => k.kid) });
  }
  if (path === '/__admin/account') { // {"account":"alice","claims":{"email":"new@example.com"}}; null removes a claim
    const a = (ACCOUNTS[body.account] ??= { sub: `${body.account}-1` });
    for (const [k, v] of Object.entries(body.claims ?? {})) { if (v === null) delete a[k]; else a[k] = v; }
    return json(res, a);
  }
  return json(res, { error: 'not found' }, 404);
}

const picture = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');
const listener = (req, res) => {
  const path = req.url.split('?')[0];
  const fail = (e) => { if (!res.headersSent) json(res, { error: e.message, error_description: e.error_description }, e.statusCode ?? 500); };
  if (path.startsWith('/__admin/')) admin(req, res, path).catch(fail);
  else if (path.startsWith('/interaction/')) interaction(req, res).catch(fail);
  else if (path.startsWith('/pic/')) send(res, 200, 'image/png', picture);
  else op.handle(req, res);
};

// the issuer holds the port, so the provider is built once the port is known; no request is read before this callback has run
const server = http.createServer(listener);
server.listen(S.port, '127.0.0.1', () => {
  S.port = server.address().port;
  S.issuer = `http://127.0.0.1:${S.port}`;
  for (const [k, a] of Object.entries(ACCOUNTS)) a.picture = `${S.issuer}/pic/${k}.png`;
  op = build();
  console.log(`OP ready: ${S.issuer}`);
});
if (S.exit_with_parent) process.stdin.on('end', () => process.exit(0)).resume();
