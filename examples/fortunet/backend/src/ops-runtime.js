// Reads limits and switches that change without a deployment, by the runtime contract, version 1
// (docs/reference/runtime-contract.md of Backout). Copy this file; it has no dependencies.
//
//   export { OpsLimitBucket } from "./ops-runtime.js";
//   const runtime = createRuntime({
//     limits: { calc: { limit: 30, period: 60, key: "ip", probe: true } },
//     switches: { maintenance: { normal: "off", on_unknown: "off" } },
//   });
//   …
//   const answer = await runtime.answer(request, env, ctx); // first in fetch(): a response, or null
//   const refusal = await runtime.limit("calc", request, env, { user }); // a 429, or null
//   return runtime.counted(request, response); // last: adds the RateLimit fields
//
// Bindings: OPS_RUNTIME (KV), OPS_LIMITS (the Durable Object OpsLimitBucket), CF_VERSION_METADATA.

import { DurableObject } from "cloudflare:workers";

const VERSION = 1;
const LIMITS = "ops/limits";
const SWITCH = "ops/switch/";
const KEYS_AT_ONCE = 100; // limit of one multi-key get
const READ_EVERY = 1000; // milliseconds, as READ_TIMEOUT and TIMEOUT
const READ_TIMEOUT = 250;
const TIMEOUT = 1000; // for a Durable Object, which may be on another continent
const PROBE_BUCKETS = 16;
const RETRY_AFTER = 600; // seconds, if maintenance has no planned end
const BANNER = "banner"; // name of the switch
const BANNER_LEVELS = {
  investigating: "warning",
  identified: "warning",
  monitoring: "info",
  scheduled: "info",
  "in-progress": "info",
};

// `ai(env)` returns the value of "ai" at /__ops/runtime, if the application uses AI providers.
export function createRuntime({ limits = {}, switches = {}, health = "/health", ai = null }) {
  return new Runtime({ limits, switches, health, ai });
}

class Runtime {
  #declared;
  #keys;
  #seen = new Map(); // key in KV → last valid value
  #begun = -Infinity;
  #reading = null;
  #started = 0;
  #newest = 0;
  #fields = new WeakMap(); // request → its counts
  #ai = { at: -Infinity, shown: null };

  constructor(declared) {
    this.#declared = declared;
    const keys = Object.keys(declared.switches).map((name) => SWITCH + name);
    this.#keys = Object.keys(declared.limits).length > 0 ? [LIMITS, ...keys] : keys;
  }

  // Reads the values from KV, at most once a second. `answer` calls it; call it yourself in cron triggers, queue
  // consumers and objects.
  async read(env, ctx) {
    const since = Date.now() - this.#begun;
    const isFresh = since >= 0 && since < READ_EVERY; // false after the clock was set back
    if (!isFresh) {
      this.#begun = Date.now();
      this.#started += 1;
      this.#reading = this.#readAll(env, this.#started);
      ctx?.waitUntil(this.#reading); // a late value serves the next request
    }
    if (this.#reading) {
      await within(READ_TIMEOUT - (isFresh ? since : 0), this.#reading);
    }
  }

  // Returns the Response to a path of the contract or during maintenance; else null.
  async answer(request, env, ctx) {
    await this.read(env, ctx);
    const { pathname } = new URL(request.url);
    if (pathname === "/__ops/runtime") {
      return onlyGet(request) ?? Response.json(await this.#show(env), { headers: { "cache-control": "no-store" } });
    }
    if (pathname === this.#declared.health && isDrilled(env)) {
      return Response.json({ error: "drill" }, { status: 503, headers: { "cache-control": "no-store" } });
    }
    if (this.#isClosed(pathname)) {
      return this.#closed();
    }
    return pathname.startsWith("/__ops/limits/") ? this.#probe(pathname.slice("/__ops/limits/".length), request, env) : null;
  }

  // Returns the state of a switch.
  state(name) {
    return this.#switch(name).state;
  }

  // Returns the message of a switch for users; may be empty.
  message(name) {
    return this.#switch(name).message ?? "";
  }

  // Returns `{ level, text, until }` of the banner that the switch "banner" shows to users; null without one.
  banner() {
    const { state, message, until } = this.#switch(BANNER);
    const isShown = Object.hasOwn(this.#declared.switches, BANNER) && Object.hasOwn(BANNER_LEVELS, state) && message;
    return isShown ? { level: BANNER_LEVELS[state], text: message, ...(until && { until }) } : null;
  }

  // Counts a request. Returns null if it is within the limit, else a 429. `user` is the signed-in user, if any.
  async limit(name, request, env, { user } = {}) {
    const who = this.#limit(name)?.key === "user" && user ? `user\n${user}` : `ip\n${networkOf(request)}`;
    const counted = await this.#count(name, who, env);
    if (counted) {
      this.#fields.set(request, [...(this.#fields.get(request) ?? []), counted]);
    }
    return !counted || counted.allowed ? null : withFields(tooMany(counted), [counted]);
  }

  // Returns the response with the RateLimit fields of each limit that counted its request.
  counted(request, response) {
    const fields = this.#fields.get(request);
    return fields ? withFields(new Response(response.body, response), fields) : response;
  }

  async #readAll(env, number) {
    const groups = [];
    for (let start = 0; start < this.#keys.length; start += KEYS_AT_ONCE) {
      groups.push(this.#keys.slice(start, start + KEYS_AT_ONCE));
    }
    const found = await Promise.allSettled(groups.map(async (keys) => [...(await env.OPS_RUNTIME.get(keys, "text"))]));
    if (number === this.#started) {
      this.#reading = null;
    }
    if (number < this.#newest) {
      return; // a later read has finished already
    }
    this.#newest = number;
    for (const [key, text] of found.flatMap(({ value = [] }) => value)) {
      const value = parse(key, text);
      if (value) {
        this.#seen.set(key, value);
      }
    }
  }

  #limit(name) {
    const seen = this.#seen.get(LIMITS)?.limits ?? {};
    if (!Object.hasOwn(this.#declared.limits, name)) {
      return null;
    }
    const { limit, period, key, probe, temporary } = Object.hasOwn(seen, name) ? seen[name] : this.#declared.limits[name];
    const isRaised = temporary && isAhead(temporary.until);
    return { limit, period, key, probe, ...(isRaised && { limit: temporary.limit, until: temporary.until }) };
  }

  #switch(name) {
    const declared = this.#declared.switches[name] ?? {};
    const seen = this.#seen.get(SWITCH + name);
    if (!seen) {
      return { state: declared.on_unknown ?? declared.normal, revision: null };
    }
    return seen.until === null || isAhead(seen.until) ? seen : { state: declared.normal, revision: seen.revision };
  }

  // Leaves out owner, incident and since, which are for people only.
  async #show(env) {
    const limits = Object.keys(this.#declared.limits).map((name) => {
      const { limit, period, key, until } = this.#limit(name);
      return [name, { limit, period, key, ...(until && { until }) }];
    });
    const switches = Object.keys(this.#declared.switches).map((name) => {
      const { state, revision, until } = this.#switch(name);
      return [name, { state, revision, ...(until && { until }) }];
    });
    const ai = await this.#showAi(env);
    return {
      contract: VERSION,
      worker: env.CF_VERSION_METADATA?.id ?? null,
      limits: { revision: this.#seen.get(LIMITS)?.revision ?? null, values: Object.fromEntries(limits) },
      switches: Object.fromEntries(switches),
      drill: { until: isDrilled(env) ? env.OPS_DRILL_UNTIL : null },
      ...(Object.hasOwn(this.#declared.switches, BANNER) && { banner: this.banner() }),
      ...(ai && { ai }),
    };
  }

  // Calls the application at most once a second, because the path is public.
  async #showAi(env) {
    const since = Date.now() - this.#ai.at;
    if (this.#declared.ai && !(since >= 0 && since < READ_EVERY)) {
      this.#ai.at = Date.now();
      const pending = (async () => this.#declared.ai(env))().catch(() => null);
      this.#ai.shown = (await within(TIMEOUT, pending)) ?? null;
    }
    return this.#ai.shown;
  }

  #isClosed(pathname) {
    const isDeclared = Object.hasOwn(this.#declared.switches, "maintenance");
    const { health } = this.#declared;
    const isOurs = pathname === health || pathname.startsWith(`${health}/`) || pathname.startsWith("/__ops/");
    if (!isDeclared || this.state("maintenance") !== "on" || isOurs) {
      return false;
    }
    const { paths = [] } = this.#switch("maintenance");
    return paths.length === 0 || paths.some((path) => pathname.startsWith(path) || decoded(pathname).startsWith(path));
  }

  #closed() {
    const { until, message } = this.#switch("maintenance");
    const seconds = until ? Math.max(1, Math.ceil((Date.parse(until) - Date.now()) / 1000)) : RETRY_AFTER;
    const headers = { "retry-after": String(seconds), "cache-control": "no-store", "ops-maintenance": "switch" };
    return Response.json({ error: "maintenance", message: message ?? "" }, { status: 503, headers });
  }

  async #probe(name, request, env) {
    if (!this.#limit(name)?.probe) {
      return Response.json({ error: "not found" }, { status: 404 });
    }
    const refusal = onlyGet(request);
    if (refusal) {
      return refusal;
    }
    const nonce = request.headers.get("ops-probe") ?? "";
    if (!/^[A-Za-z0-9-]{8,64}$/.test(nonce)) {
      return Response.json({ error: "Ops-Probe must be 8 to 64 letters, digits or hyphens" }, { status: 400 });
    }
    const bucket = parseInt((await digest(nonce)).slice(0, 8), 16) % PROBE_BUCKETS;
    const counted = await this.#count(name, `probe\n${bucket}`, env);
    const response = !counted || counted.allowed ? new Response(null, { status: 204 }) : tooMany(counted);
    return withFields(response, counted ? [counted] : []);
  }

  // Returns null if counting fails; the request is then allowed.
  async #count(name, who, env) {
    try {
      const { limit, period } = this.#limit(name);
      const bucket = env.OPS_LIMITS.idFromName(await digest(`${name}\n${who}`)); // a name of fixed length
      const counted = await within(TIMEOUT, env.OPS_LIMITS.get(bucket).count(limit, period));
      return counted ? { name, limit, period, ...counted } : null;
    } catch {
      return null;
    }
  }
}

// One window of one bucket. It starts with a request. A limit of N allows N requests at once, and at most 2 N in any
// period.
export class OpsLimitBucket extends DurableObject {
  #window = null;

  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => {
      this.#window = (await ctx.storage.get("window")) ?? null;
    });
  }

  // Returns whether this request is allowed, how many are left, and the seconds until the window ends.
  async count(limit, period) {
    const now = Date.now();
    const length = period * 1000;
    const isOver = !this.#window || now < this.#window.begun || now >= this.#window.begun + length;
    if (isOver) {
      this.#window = { begun: now, length, count: 0 };
      this.ctx.storage.setAlarm(now + length + 1000, { allowUnconfirmed: true });
    }
    const allowed = this.#window.count < limit;
    if (allowed) {
      this.#window.count += 1; // stored, because an idle object loses its memory
      this.ctx.storage.put("window", this.#window, { allowUnconfirmed: true });
    }
    const seconds = Math.ceil((this.#window.begun + length - now) / 1000);
    return { allowed, left: Math.max(0, limit - this.#window.count), seconds };
  }

  // Deletes an ended window, because each address has an object.
  async alarm() {
    if (!this.#window || Date.now() >= this.#window.begun + this.#window.length) {
      this.#window = null;
      await this.ctx.storage.deleteAll();
    }
  }
}

function tooMany({ seconds }) {
  const headers = { "retry-after": String(seconds), "cache-control": "no-store" };
  return Response.json({ error: `too many requests; try again in ${seconds} s` }, { status: 429, headers });
}

// datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers
function withFields(response, counted) {
  if (counted.length > 0) {
    const policies = counted.map(({ name, limit, period }) => `"${name}";q=${limit};w=${period}`);
    const states = counted.map(({ name, left, seconds }) => `"${name}";r=${left};t=${seconds}`);
    response.headers.set("ratelimit-policy", policies.join(", "));
    response.headers.set("ratelimit", states.join(", "));
  }
  return response;
}

function onlyGet(request) {
  const headers = { allow: "GET, HEAD" };
  return ["GET", "HEAD"].includes(request.method) ? null : Response.json({ error: "only GET" }, { status: 405, headers });
}

// Returns the client's IPv4 address or IPv6 /64 network, because one client has the whole network.
function networkOf(request) {
  const address = (request.headers.get("cf-connecting-ip") ?? "").toLowerCase();
  const [ipv4] = /\d+\.\d+\.\d+\.\d+$/.exec(address) ?? []; // also at the end of ::ffff:192.0.2.1
  if (ipv4 || !address.includes(":")) {
    return ipv4 ?? address;
  }
  const [first, last] = address.split("::").map((part) => (part ? part.split(":") : []));
  const zeros = last ? Array(Math.max(0, 8 - first.length - last.length)).fill("0") : [];
  const groups = [...first, ...zeros, ...(last ?? [])].slice(0, 4);
  return `${groups.map((group) => group.replace(/^0+(?=.)/, "")).join(":")}::/64`;
}

async function digest(text) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function decoded(pathname) {
  try {
    return decodeURIComponent(pathname);
  } catch {
    return pathname;
  }
}

// Returns the value of the promise; undefined after a timeout.
async function within(milliseconds, promise) {
  if (milliseconds <= 0) {
    return undefined;
  }
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// Tells whether a staging drill wants the health path to fail. A variable that was forgotten ends by itself.
function isDrilled(env) {
  return typeof env.OPS_DRILL_UNTIL === "string" && isAhead(env.OPS_DRILL_UNTIL);
}

function isAhead(moment) {
  return Date.parse(moment) > Date.now();
}

// Returns the value of a key; undefined if it is invalid or has another version.
function parse(key, text) {
  try {
    const value = JSON.parse(text);
    const fits = key === LIMITS ? isLimits : isSwitch;
    return value.version === VERSION && fits(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const NAME = /^[a-z][a-z0-9]{0,39}(-[a-z0-9]{1,20}){0,4}$/;
const MOMENT = /^(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value) => typeof value === "string";
const isCount = (value) => Number.isInteger(value) && value >= 1;
const isNullOr = (isIt, value) => value === null || isIt(value);

function isMoment(value) {
  const [, day] = (isText(value) && MOMENT.exec(value)) || [];
  return day !== undefined && new Date(`${day}T00:00:00Z`).toISOString().startsWith(day); // there is no 30 February
}

function isLimits({ revision, limits }) {
  const isRevision = isText(revision) && /^[0-9a-f]{12}-[0-9a-f]{8}$/.test(revision);
  return isRevision && isObject(limits) && Object.entries(limits).every(([name, value]) => NAME.test(name) && isLimit(value));
}

function isLimit(value) {
  const { limit, period, key, probe = false, temporary } = isObject(value) ? value : {};
  const isPlain = isCount(limit) && isCount(period) && ["ip", "user"].includes(key) && typeof probe === "boolean";
  const isTemporary = isObject(temporary) && isCount(temporary.limit) && isMoment(temporary.until);
  return isPlain && (temporary === undefined || isTemporary);
}

function isSwitch({ revision, state, until, review_at, message, paths, owner, incident, since }) {
  return (
    isText(revision) &&
    revision !== "" &&
    isText(state) &&
    NAME.test(state) &&
    [until, review_at].every((value) => isNullOr(isMoment, value)) &&
    [message, owner].every(isText) &&
    Array.isArray(paths) &&
    paths.every((path) => isText(path) && path.startsWith("/")) &&
    isNullOr(Number.isInteger, incident) &&
    isMoment(since)
  );
}
