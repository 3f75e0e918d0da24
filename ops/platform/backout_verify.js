// Worker of `ops verify-platform`. It shows its version, a test secret and a value of its own KV namespace.
export default {
  async fetch(request, env) {
    const key = new URL(request.url).searchParams.get("key");
    const value = key === null ? null : await env.STORE.get(key);
    const shown = { version: env.VERSION.id, generation: env.GENERATION ?? null, value };
    return Response.json(shown, { headers: { "cache-control": "no-store" } });
  },
};
