// Providers of AI models; all implement OpenAI's chat completions.

export const PROVIDERS = {
  iflow: { url: "https://apis.iflow.cn/v1", secret: "IFLOW_API_KEY", model: "qwen3-coder-plus" },
  groq: { url: "https://api.groq.com/openai/v1", secret: "GROQ_API_KEY", model: "llama-3.3-70b-versatile" },
  cerebras: { url: "https://api.cerebras.ai/v1", secret: "CEREBRAS_API_KEY", model: "llama-3.3-70b" },
};

// Returns the choices of the answer; null if there are none, because some providers report errors with status 200.
export async function complete(name, env, { content, max_tokens, signal }) {
  const { url, secret, model } = PROVIDERS[name];
  const response = await fetch(`${url}/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${env[secret]}`, "content-type": "application/json" },
    body: JSON.stringify({ model, messages: [{ role: "user", content }], max_tokens }),
    signal,
  }).catch(() => null);
  const answer = response?.ok ? await response.json().catch(() => null) : null;
  return Array.isArray(answer?.choices) ? answer.choices : null;
}
