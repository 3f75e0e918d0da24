// Before the example: a clock that stands still, a KV that can fail, and readers of our own beside the application's.
//
//   POST /__test/clock      milliseconds to go forward, for Durable Objects too; answers the moment
//   POST /__test/values     {KEY: value in KV, null: none}; a second later, so that they are read next
//   POST /__test/kv         {mode: "throws" | "hangs" | null, releases}: how reads that begin now end, and whether those
//                           that hang do; answers the keys of each read since the last one, and how many hang
//   POST /__test/outside    what providers do: see host.mjs
//   POST /__test/sql        statements for D1
//   POST /__test/bucket     "forget", or "alarm": one of OpsLimitBucket; answers whether it counts and what it keeps
//   POST /__test/session    an id: its object has its alarm; answers how many tables are left
//   POST /__test/readers    {limits, switches}: a new reader, as in a new isolate, with keys of its own; its number
//
// A request with the header `reader` is answered by that one: what is its own first, then what it counts and says.
// The header `without` names bindings that are not there.

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
let moment = null; // there is no time before the first request
Date.now = () => moment ?? now();

// A machine that is busy is no Durable Object that does not answer.
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
  const bindings = Object.entries({ ...env, OPS_RUNTIME: { get } });
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
