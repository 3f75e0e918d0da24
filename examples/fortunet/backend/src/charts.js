// Saved charts of the users, in D1.

const MAX_CHARTS = 50;

export async function save(user, { birth, chart }, env) {
  await env.DB.prepare("INSERT INTO charts (user, date, time, chart, made_at) VALUES (?, ?, ?, ?, ?)")
    .bind(user, birth.date, birth.time, JSON.stringify(chart), new Date(Date.now()).toISOString())
    .run();
}

// Returns the newest charts first.
export async function list(user, env) {
  const { results } = await env.DB.prepare(
    "SELECT date, time, chart, made_at FROM charts WHERE user = ? ORDER BY id DESC LIMIT ?",
  )
    .bind(user, MAX_CHARTS)
    .all();
  return results.map(({ date, time, chart, made_at }) => ({ birth: { date, time }, chart: JSON.parse(chart), made_at }));
}

// Throws if the oldest or the newest saved chart cannot be read.
export async function check(env) {
  const { results } = await env.DB.prepare(
    "SELECT chart FROM charts WHERE id IN ((SELECT min(id) FROM charts), (SELECT max(id) FROM charts))",
  ).all();
  results.forEach(({ chart }) => JSON.parse(chart));
}
