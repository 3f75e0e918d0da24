// Before the example: a clock that can be set, a KV that can fail, and readers of our own beside the application's.
//
//   POST /__test/clock     milliseconds to go forward, for all, Durable Objects included
//   PUT  /__test/kv/KEY    a value
//   POST /__test/kv        {fails: "throws" | "hangs" | null}; answers the keys of each read since the last one
//   POST /__test/outside   what providers do: see host.mjs
//   POST /__test/sql       statements for D1
//   POST /__test/readers   {limits, switches}: a new reader, as in a new isolate, with keys of its own; answers its number
//
// A request with the header `reader` is answered by that one: first what is its own, else what is counted and said.

import application from "./index.js";
import { createRuntime } from "./ops-runtime.js";

export { AiMutexDO, OpsLimitBucket, SessionDO } from "./index.js";

const now = Date.now.bind(Date);
let ahead = 0;
Date.now = () => now() + ahead;

const readers = [];
let fails = null;
let reads = [];

export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/__test/")) {
      return Response.json(await arrange(pathname.slice("/__test/".length), request, env));
    }
    const number = request.headers.get("reader");
    return number ? read(Number(number), request, env, ctx) : application.fetch(request, outside(env, ""), ctx);
  },
};

async function arrange(what, request, env) {
  switch (what) {
    case "clock":
      return (ahead += await request.json());
    case "outside":
      return (await fetch("https://control.test/", { method: "POST", body: await request.text() })).json();
    case "sql":
      return env.DB.batch((await request.text()).split(";").filter((text) => text.trim()).map((text) => env.DB.prepare(text)));
    case "readers":
      return readers.push(createRuntime(await request.json())) - 1;
    case "kv": {
      const before = reads;
      ({ fails } = await request.json());
      reads = [];
      return before;
    }
    default:
      return env.OPS_RUNTIME.put(decodeURIComponent(what.slice("kv/".length)), await request.text());
  }
}

function outside(env, prefix) {
  const get = async (keys, type) => {
    reads.push(keys);
    if (fails === "throws") {
      throw new Error("KV GET failed: 500 Internal Server Error");
    }
    if (fails === "hangs") {
      await new Promise((resolve) => setTimeout(resolve, 5000));
    }
    const found = await env.OPS_RUNTIME.get(keys.map((key) => prefix + key), type);
    return new Map([...found].map(([key, value]) => [key.slice(prefix.length), value]));
  };
  return { ...env, OPS_RUNTIME: { get } };
}

async function read(number, request, env, ctx) {
  const runtime = readers[number];
  const { OPS_LIMITS, ...uncounted } = outside(env, `${number}/`);
  const seen = request.headers.has("without-counting") ? uncounted : { ...uncounted, OPS_LIMITS };
  const ours = await runtime.answer(request, seen, ctx);
  if (ours) {
    return ours;
  }
  const { limit, user, state } = Object.fromEntries(new URL(request.url).searchParams);
  const refusal = limit ? await runtime.limit(`${limit}`, request, seen, { user }) : null;
  const said = state ? { state: runtime.state(state), message: runtime.message(state) } : {};
  return runtime.counted(request, refusal ?? Response.json(said));
}
