// Asks the providers of AI models, one request at a time, since their free plans allow no more.
//
// Which provider, how often on each day, with what outcome and how long its last answer took is in SQLite and outlives a
// reset, which would otherwise look as if it had cured a provider. Who waits is in memory.

import { DurableObject } from "cloudflare:workers";
import { complete, PROVIDERS } from "./providers.js";

const NAMES = Object.keys(PROVIDERS); // in the order of preference
const MINUTES = 5;
const PER_DAY = 1000; // requests to each provider, unless the variable AI_PER_DAY has another number
const QUEUE = 8; // requests, the one that is being answered among them
const PATIENCE = 25_000; // milliseconds for one request, waiting included
const PROVIDER_PATIENCE = 8_000; // unless AI_PROVIDER_PATIENCE
const SLOW = 4_000; // milliseconds for one answer, as a user waits for it
const FAILURES = 3; // within MINUTES, and more than successes: asked last

export class AiMutexDO extends DurableObject {
  #instance = crypto.randomUUID();
  #since = Date.now();
  #answered = 0;
  #waiting = 0;
  #turn = Promise.resolve();

  constructor(ctx, env) {
    super(ctx, env);
    const key = "PRIMARY KEY (provider, at)) WITHOUT ROWID";
    ctx.storage.sql.exec(`CREATE TABLE IF NOT EXISTS quota (provider TEXT, at TEXT, used INTEGER, ${key}`);
    ctx.storage.sql.exec(`CREATE TABLE IF NOT EXISTS outcomes (provider TEXT, at INTEGER, ok INTEGER, failed INTEGER, ${key}`);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS answers (provider TEXT PRIMARY KEY, at INTEGER, took INTEGER)");
  }

  // { provider, text }, or null where nobody answered, or too many wait. `preferred` is the state of the switch `ai`.
  async ask(content, preferred) {
    if (this.#waiting >= QUEUE) {
      return null;
    }
    const deadline = Date.now() + PATIENCE;
    const { promise, resolve: done } = Promise.withResolvers();
    const mine = this.#turn;
    this.#turn = promise;
    this.#waiting += 1;
    try {
      await mine;
      return await this.#askInOrder(content, preferred, deadline);
    } finally {
      this.#waiting -= 1;
      done();
    }
  }

  // What /__ops/runtime shows.
  show(preferred) {
    return { seconds: MINUTES * 60, order: this.#order(preferred), outcomes: this.#outcomes() };
  }

  // Whether an interpretation would come, and in time, as far as the last minutes tell: ok, down or slow.
  health(preferred) {
    const order = this.#order(preferred);
    const outcomes = this.#outcomes();
    if (order.every((name) => outcomes[name].failed > outcomes[name].ok)) {
      return "down";
    }
    return this.#took(order[0]) > SLOW ? "slow" : "ok";
  }

  // What only an administrator sees: a new `instance` is how a reset is known to have happened.
  describe() {
    const quota = Object.fromEntries(NAMES.map((name) => [name, { used: this.#used(name), per_day: this.#perDay }]));
    const memory = { answered: this.#answered, waiting: this.#waiting };
    return { instance: this.#instance, since: new Date(this.#since).toISOString(), memory, quota };
  }

  // Ends this instance with all that wait in it. Whoever asked is told by an error; what is stored stays.
  async reset() {
    await this.ctx.storage.sync();
    this.ctx.abort("reset by an administrator");
  }

  async #askInOrder(content, preferred, deadline) {
    const patience = Number(this.env.AI_PROVIDER_PATIENCE ?? PROVIDER_PATIENCE);
    for (const name of this.#order(preferred)) {
      const left = Math.min(patience, deadline - Date.now());
      if (left <= 0) {
        return null;
      }
      this.#use(name);
      const began = Date.now();
      const choices = await complete(name, this.env, { content, max_tokens: 400, signal: AbortSignal.timeout(left) });
      const text = choices?.[0]?.message?.content;
      this.#record(name, typeof text === "string");
      if (typeof text === "string") {
        this.#answered += 1;
        this.#time(name, began);
        return { provider: name, text };
      }
    }
    return null;
  }

  // The preferred one first; the failing ones last, until their failures are old; without those that cannot be asked.
  #order(preferred) {
    const outcomes = this.#outcomes();
    const rank = (name) => {
      const { ok, failed } = outcomes[name];
      return name === preferred ? 0 : failed >= FAILURES && failed > ok ? 2 : 1;
    };
    const isUsable = (name) => this.env[PROVIDERS[name].secret] && this.#used(name) < this.#perDay;
    return preferred === "off" ? [] : NAMES.filter(isUsable).sort((a, b) => rank(a) - rank(b));
  }

  #outcomes() {
    const sums = Object.fromEntries(NAMES.map((name) => [name, { ok: 0, failed: 0 }]));
    const rows = this.ctx.storage.sql.exec(
      "SELECT provider, SUM(ok) AS ok, SUM(failed) AS failed FROM outcomes WHERE at > ? GROUP BY provider",
      minute() - MINUTES,
    );
    for (const { provider, ok, failed } of rows) {
      sums[provider] = { ok, failed };
    }
    return sums;
  }

  #record(provider, isOk) {
    const column = isOk ? "ok" : "failed";
    const { sql } = this.ctx.storage;
    sql.exec("DELETE FROM outcomes WHERE at <= ?", minute() - MINUTES);
    sql.exec("INSERT OR IGNORE INTO outcomes (provider, at, ok, failed) VALUES (?, ?, 0, 0)", provider, minute());
    sql.exec(`UPDATE outcomes SET ${column} = ${column} + 1 WHERE provider = ? AND at = ?`, provider, minute());
  }

  #time(provider, began) {
    const now = Date.now();
    this.ctx.storage.sql.exec("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", provider, now, now - began);
  }

  // Milliseconds of its last answer; 0 where it gave none in the last minutes.
  #took(provider) {
    const since = Date.now() - MINUTES * 60_000;
    const [row] = this.ctx.storage.sql.exec("SELECT took FROM answers WHERE provider = ? AND at > ?", provider, since).toArray();
    return row?.took ?? 0;
  }

  #used(provider) {
    const [row] = this.ctx.storage.sql.exec("SELECT used FROM quota WHERE provider = ? AND at = ?", provider, day()).toArray();
    return row?.used ?? 0;
  }

  #use(provider) {
    const { sql } = this.ctx.storage;
    sql.exec("DELETE FROM quota WHERE at < ?", day());
    sql.exec("INSERT OR IGNORE INTO quota (provider, at, used) VALUES (?, ?, 0)", provider, day());
    sql.exec("UPDATE quota SET used = used + 1 WHERE provider = ? AND at = ?", provider, day());
  }

  get #perDay() {
    return Number(this.env.AI_PER_DAY ?? PER_DAY);
  }
}

function minute() {
  return Math.floor(Date.now() / 60_000);
}

function day() {
  return new Date(Date.now()).toISOString().slice(0, 10);
}
