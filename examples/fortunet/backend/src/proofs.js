// Checks that need a working secret. They return true or false, never the secret.

import { complete, PROVIDERS } from "./providers.js";

export async function takesKey(name, env) {
  if (!Object.hasOwn(PROVIDERS, name) || !env[PROVIDERS[name].secret]) {
    return false;
  }
  return (await complete(name, env, { content: "ping", max_tokens: 1 })) !== null;
}

export async function signs(secret) {
  if (!secret) {
    return false;
  }
  const encoder = new TextEncoder();
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), algorithm, false, ["sign", "verify"]);
  const signature = await crypto.subtle.sign("HMAC", key, encoder.encode("proof"));
  return crypto.subtle.verify("HMAC", key, signature, encoder.encode("proof"));
}
