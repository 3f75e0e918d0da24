// Token of a session: a JWT signed with JWT_SECRET. HS256 is the only algorithm, for any value of `alg` in its header.

const AUDIENCE = "fortunet-api";
const ALGORITHM = { name: "HMAC", hash: "SHA-256" };
const HEADER = { alg: "HS256", typ: "JWT" };

export async function sign(claims, secret) {
  const text = `${encode(HEADER)}.${encode({ ...claims, aud: AUDIENCE })}`;
  const signature = await crypto.subtle.sign("HMAC", await keyOf(secret), bytesOf(text));
  return `${text}.${base64url(new Uint8Array(signature))}`;
}

// Returns the claims of a token that is ours and has not expired; else null.
export async function verify(token, secret) {
  try {
    const [header, payload, signature, ...rest] = token.split(".");
    const isOurs = await crypto.subtle.verify("HMAC", await keyOf(secret), decode(signature), bytesOf(`${header}.${payload}`));
    const claims = parse(payload);
    const isWhole = rest.length === 0 && parse(header).alg === HEADER.alg && typeof claims.sid === "string";
    return isOurs && isWhole && claims.aud === AUDIENCE && claims.exp > Date.now() / 1000 ? claims : null;
  } catch {
    return null;
  }
}

function keyOf(secret) {
  return crypto.subtle.importKey("raw", bytesOf(secret), ALGORITHM, false, ["sign", "verify"]);
}

function bytesOf(text) {
  return new TextEncoder().encode(text);
}

function encode(value) {
  return base64url(bytesOf(JSON.stringify(value)));
}

function parse(part) {
  return JSON.parse(new TextDecoder().decode(decode(part)));
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function decode(part) {
  return Uint8Array.from(atob(part.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
}
