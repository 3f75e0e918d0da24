// Sends requests to the providers of AI models, one at a time, because their free plans allow no more.
//
// The daily counts, the outcomes and the time of the last answer per provider are in SQLite and survive a reset. Without
// them, a failing provider would look healthy after a reset. Waiting requests are in memory.

import { DurableObject } from "cloudflare:workers";
import { complete, PROVIDERS } from "./providers.js";

const NAMES = Object.keys(PROVIDERS); // in order of preference
const MINUTES = 5;
const PER_DAY = 1000; // requests to each provider, unless the variable AI_PER_DAY has another number
const QUEUE = 8; // requests, including the one in progress
const TIMEOUT = 25_000; // milliseconds for one request, including its time in the queue
const PROVIDER_TIMEOUT = 8_000; // unless AI_PROVIDER_PATIENCE
const SLOW = 4_000; // milliseconds for one answer
const FAILURES = 3; // within MINUTES, and more than successes: the provider comes last

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

  // Returns { provider, text }, or null if no provider answers or the queue is full. `preferred` is the state of the
  // switch `ai`.
  async ask(content, preferred) {
    if (this.#waiting >= QUEUE) {
      return null;
    }
    const deadline = Date.now() + TIMEOUT;
    const { promise, resolve: done } = Promise.withResolvers();
    const previous = this.#turn;
    this.#turn = promise;
    this.#waiting += 1;
    try {
      await previous;
      return await this.#askInOrder(content, preferred, deadline);
    } finally {
      this.#waiting -= 1;
      done();
    }
  }

  // Returns the part `ai` of /__ops/runtime.
  show(preferred) {
    return { seconds: MINUTES * 60, order: this.#order(preferred), outcomes: this.#outcomes() };
  }

  // Returns whether interpretations work, judged by the last minutes: ok, down or slow.
  health(preferred) {
    const order = this.#order(preferred);
    const outcomes = this.#outcomes();
    if (order.every((name) => outcomes[name].failed > outcomes[name].ok)) {
      return "down";
    }
    return this.#took(order[0]) > SLOW ? "slow" : "ok";
  }

  // Returns the state for administrators. A new `instance` proves a reset.
  describe() {
    const quota = Object.fromEntries(NAMES.map((name) => [name, { used: this.#used(name), per_day: this.#perDay }]));
    const memory = { answered: this.#answered, waiting: this.#waiting };
    return { instance: this.#instance, since: new Date(this.#since).toISOString(), memory, quota };
  }

  // Ends this instance. Waiting requests fail with an error; the storage is kept.
  async reset() {
    await this.ctx.storage.sync();
    this.ctx.abort("reset by an administrator");
  }

  async #askInOrder(content, preferred, deadline) {
    const timeout = Number(this.env.AI_PROVIDER_PATIENCE ?? PROVIDER_TIMEOUT);
    for (const name of this.#order(preferred)) {
      const remaining = Math.min(timeout, deadline - Date.now());
      if (remaining <= 0) {
        return null;
      }
      this.#use(name);
      const began = Date.now();
      const choices = await complete(name, this.env, { content, max_tokens: 400, signal: AbortSignal.timeout(remaining) });
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

  // Returns the preferred provider first and failing providers last, until their failures are old. Skips providers
  // without a key or a remaining quota.
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

  // Returns the duration of its last answer in milliseconds; 0 if there was none in the last minutes.
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
