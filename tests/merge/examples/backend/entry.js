// Wraps the example: a clock that stands still, a KV that can fail, and additional readers of the runtime contract.
//
//   POST /__test/clock      milliseconds to advance, also for Durable Objects; returns the time
//   POST /__test/values     {KEY: value in KV, null: none}; advances a second, so that the next request reads them
//   POST /__test/kv         {mode: "throws" | "hangs" | null, releases}: result of new reads, and whether hanging reads
//                           end; returns the keys of each read since the last call, and the number of hanging reads
//   POST /__test/outside    behavior of the providers: see host.mjs
//   POST /__test/sql        statements for D1
//   POST /__test/bucket     "forget" or "alarm" for one OpsLimitBucket; returns its count or its stored keys
//   POST /__test/session    an id: runs the alarm of its object; returns the number of tables left
//   POST /__test/readers    {limits, switches}: creates a reader with its own keys and no cache; returns its number
//
// The header `reader` selects the reader that answers a request. The header `without` lists bindings to remove.
// The header `drill` is the variable OPS_DRILL_UNTIL.

import application, { SessionDO } from "./index.js";
import { createRuntime, OpsLimitBucket } from "./ops-runtime.js";

export { AiMutexDO } from "./index.js";

export class Bucket extends OpsLimitBucket {
  forget() {
    this.ctx.abort();
  }

  async end() {
    await this.alarm();
    return [...(await this.ctx.storage.list()).keys()];
  }
}

export class Session extends SessionDO {
  async end() {
    await this.alarm();
    return this.ctx.storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'session'").toArray().length;
  }
}

const now = Date.now.bind(Date);
let moment = null; // workerd has no time before the first request
Date.now = () => moment ?? now();

// Longer timeouts, so that a busy machine does not look like a Durable Object that does not answer.
const later = setTimeout.bind(globalThis);
globalThis.setTimeout = (then, milliseconds, ...rest) => later(then, milliseconds < 1000 ? milliseconds : 60_000, ...rest);

const readers = [];
const values = {};
let kv = null;
let reads = [];
let hanging = 0;
let released = 0;

export default {
  async fetch(request, env, ctx) {
    moment ??= now();
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/__test/")) {
      return Response.json((await arrange(pathname.slice("/__test/".length), request, env)) ?? null);
    }
    const number = request.headers.get("reader");
    const seen = seenBy(request, env, number === null ? "" : `${number}/`);
    return number === null ? application.fetch(request, seen, ctx) : read(readers[number], request, seen, ctx);
  },
};

async function arrange(what, request, env) {
  switch (what) {
    case "values":
      Object.assign(values, await request.json());
      return (moment += 1000);
    case "clock":
      return (moment += await request.json());
    case "outside":
      return (await fetch("https://control.test/", { method: "POST", body: await request.text() })).json();
    case "sql":
      return env.DB.batch((await request.json()).map((statement) => env.DB.prepare(statement)));
    case "bucket":
      return bucket(await request.json(), () => env.OPS_LIMITS.getByName("one"));
    case "session":
      return env.SESSIONS.getByName(await request.json()).end();
    case "readers":
      return readers.push(createRuntime(await request.json())) - 1;
    case "kv": {
      const before = { reads, hanging };
      const { mode, releases = false } = await request.json();
      [kv, reads, released] = [mode, [], released + Number(releases)];
      return before;
    }
  }
}

async function bucket(what, object) {
  if (what === "alarm") {
    return object().end();
  }
  await object().forget().catch(() => {});
  return object().count(3, 60);
}

function seenBy(request, env, prefix) {
  const get = async (keys) => {
    reads.push(keys);
    const found = new Map(keys.map((key) => [key, values[prefix + key] ?? null]));
    if (kv === "hangs") {
      await hang();
    }
    if (kv === "throws") {
      throw new Error("KV GET failed: 500 Internal Server Error");
    }
    return found;
  };
  const without = (request.headers.get("without") ?? "").split(",");
  const drill = request.headers.get("drill");
  const bindings = Object.entries({ ...env, OPS_RUNTIME: { get }, ...(drill && { OPS_DRILL_UNTIL: drill }) });
  return Object.fromEntries(bindings.filter(([name]) => !without.includes(name)));
}

async function hang() {
  hanging += 1;
  for (const mine = released; mine === released; ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  hanging -= 1;
}

async function read(runtime, request, env, ctx) {
  const ours = await runtime.answer(request, env, ctx);
  if (ours) {
    return ours;
  }
  const { limit, user, state } = Object.fromEntries(new URL(request.url).searchParams);
  const refusal = limit ? await runtime.limit(limit, request, env, { user }) : null;
  const said = state ? { state: runtime.state(state), message: runtime.message(state) } : {};
  return runtime.counted(request, refusal ?? Response.json(said));
}
