// Sessions of signed-in users. The switch `session-do` decides whether a session's Durable Object is read, or its token
// is enough.

import { DurableObject } from "cloudflare:workers";
import { sign, verify } from "./token.js";

const LIFETIME = 12 * 60 * 60; // seconds
// Lifetime of a token without its object; short, because it cannot be revoked.
const STATELESS_LIFETIME = 15 * 60;

export class SessionDO extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS session (user TEXT, revoked INTEGER, expires INTEGER)");
  }

  // `expires` is in seconds, as in the token. The object is deleted then.
  open(user, expires) {
    this.#write(user, 0, expires);
  }

  // Returns null for an unknown session.
  read() {
    const [session] = this.ctx.storage.sql.exec("SELECT user, revoked FROM session").toArray();
    return session ? { user: session.user, revoked: session.revoked === 1 } : null;
  }

  revoke(user, expires) {
    this.#write(user, 1, expires);
  }

  describe() {
    return { known: this.read() !== null };
  }

  // Ends this instance. Waiting requests fail with an error; the storage is kept.
  async reset() {
    await this.ctx.storage.sync();
    this.ctx.abort("reset by an administrator");
  }

  async alarm() {
    const [session] = this.ctx.storage.sql.exec("SELECT expires FROM session").toArray();
    if (!session || session.expires <= Date.now() / 1000) {
      await this.ctx.storage.deleteAll();
    }
  }

  #write(user, revoked, expires) {
    this.ctx.storage.sql.exec("DELETE FROM session");
    this.ctx.storage.sql.exec("INSERT INTO session VALUES (?, ?, ?)", user, revoked, expires);
    this.ctx.storage.setAlarm(expires * 1000);
  }
}

// Returns a token for the user. A token issued without an object has the short lifetime.
export async function open(user, env, { stateless }) {
  const iat = Math.floor(Date.now() / 1000);
  const exp = iat + (stateless ? STATELESS_LIFETIME : LIFETIME);
  const sid = crypto.randomUUID();
  if (!stateless) {
    await env.SESSIONS.getByName(sid).open(user, exp);
  }
  const token = await sign({ sub: user, sid, iat, exp, alone: stateless }, env.JWT_SECRET);
  return { token, expires: new Date(exp * 1000).toISOString() };
}

// Returns the claims of a request's token, or null. Throws if the session's object is needed and does not answer.
export async function claimsOf(request, env, { stateless }) {
  const [, token] = /^Bearer (\S+)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
  const claims = token && env.JWT_SECRET ? await verify(token, env.JWT_SECRET) : null;
  if (claims === null) {
    return null;
  }
  if (stateless) {
    return claims.iat + STATELESS_LIFETIME > Date.now() / 1000 ? claims : null;
  }
  const session = await env.SESSIONS.getByName(claims.sid).read();
  const isOpen = session ? session.user === claims.sub && !session.revoked : claims.alone === true;
  return isOpen ? claims : null;
}

export async function close(claims, env) {
  await env.SESSIONS.getByName(claims.sid).revoke(claims.sub, claims.exp);
}
