// What the probes of switches and of the mutex ask (`probes` in ops.yml). It touches no user's session, and asks no
// provider.

import { within } from "./objects.js";

const PATIENCE = 1000; // milliseconds
const SESSION = "health"; // the object of nobody's session: theirs are named by a UUID

// 200 while whoever is signed in is let in: by an object that answers, or by the token alone.
export async function sessionsHealth(env, { stateless }) {
  if (stateless) {
    return answer(env, "stateless");
  }
  const said = await within(PATIENCE, async () => ({ session: await env.SESSIONS.getByName(SESSION).read() }));
  return said ? answer(env, "ok") : answer(env, "failed", 503);
}

// 200 while interpretations come in time, and while they are switched off.
export async function aiHealth(env, mutex, preferred) {
  if (preferred === "off") {
    return answer(env, "off");
  }
  const status = (await within(PATIENCE, () => mutex().health(preferred))) ?? "stuck";
  return answer(env, status, status === "ok" ? 200 : 503);
}

function answer(env, status, code = 200) {
  const headers = { "cache-control": "no-store" };
  return Response.json({ status, version: env.CF_VERSION_METADATA }, { status: code, headers });
}
