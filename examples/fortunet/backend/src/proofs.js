// What can be done only with a secret. No answer of these holds one.

const PROVIDERS = {
  iflow: { url: "https://apis.iflow.cn/v1", secret: "IFLOW_API_KEY", model: "qwen3-coder-plus" },
  groq: { url: "https://api.groq.com/openai/v1", secret: "GROQ_API_KEY", model: "llama-3.3-70b-versatile" },
  cerebras: { url: "https://api.cerebras.ai/v1", secret: "CEREBRAS_API_KEY", model: "llama-3.3-70b" },
};

export async function takesKey(name, env) {
  const provider = Object.hasOwn(PROVIDERS, name) ? PROVIDERS[name] : null;
  if (provider === null || !env[provider.secret]) {
    return false;
  }
  const response = await fetch(`${provider.url}/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${env[provider.secret]}`, "content-type": "application/json" },
    body: JSON.stringify({ model: provider.model, messages: [{ role: "user", content: "ping" }], max_tokens: 1 }),
  }).catch(() => null);
  const answer = response?.ok ? await response.json().catch(() => null) : null;
  return Array.isArray(answer?.choices);
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
