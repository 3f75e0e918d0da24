// What an administrator may do with a Durable Object: look at it, and reset what it has in memory.
//
//   GET  /__ops/objects/NAME          what it says of itself
//   POST /__ops/objects/NAME/reset    the same, before and after
//
// NAME is `ai-mutex`, or `session-` and a session's id. `Authorization: Bearer ADMIN_TOKEN`; without that secret there is
// no such path.

const PATIENCE = 2000; // milliseconds: an object that is to be reset may not answer

export async function administer(request, env, path) {
  const [name, action, ...rest] = path.split("/");
  const object = objectOf(name, env);
  const wanted = action === undefined ? "GET" : "POST";
  if (!env.ADMIN_TOKEN || !object || ![undefined, "reset"].includes(action) || rest.length > 0) {
    return Response.json({ error: "not found" }, { status: 404 });
  }
  if (!(await isAdministrator(request, env))) {
    return Response.json({ error: "the token of an administrator is needed" }, { status: 401 });
  }
  if (request.method !== wanted) {
    return Response.json({ error: `only ${wanted}` }, { status: 405, headers: { allow: wanted } });
  }
  return wanted === "GET" ? show(name, object) : reset(name, object);
}

function objectOf(name, env) {
  if (name === "ai-mutex") {
    return () => env.AI_MUTEX.getByName("ai-mutex");
  }
  const [, id] = /^session-([0-9a-f-]{36})$/.exec(name) ?? [];
  return id ? () => env.SESSIONS.getByName(id) : null;
}

async function show(name, object) {
  const said = await within(PATIENCE, () => object().describe());
  return said ? answer({ object: name, ...said }) : answer({ error: `${name} does not answer` }, 503);
}

async function reset(name, object) {
  const before = await within(PATIENCE, () => object().describe());
  await within(PATIENCE, () => object().reset()); // ends in an error: what would answer is gone
  const after = await within(PATIENCE, () => object().describe()); // by a new stub, since an error spoils the one that met it
  return answer({ object: name, before, after }, after ? 200 : 503);
}

// What an object answers; null where that takes longer, or is an error.
export function within(milliseconds, ask) {
  const late = new Promise((resolve) => setTimeout(resolve, milliseconds, null));
  return Promise.race([(async () => ask())().catch(() => null), late]);
}

function answer(body, status = 200) {
  return Response.json(body, { status, headers: { "cache-control": "no-store" } });
}

// The digests are compared: they are of one length, and take the same time whatever is in them.
async function isAdministrator(request, env) {
  const given = request.headers.get("authorization") ?? "";
  const [one, other] = await Promise.all([given, `Bearer ${env.ADMIN_TOKEN}`].map(digest));
  return crypto.subtle.timingSafeEqual(one, other);
}

function digest(text) {
  return crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
}
