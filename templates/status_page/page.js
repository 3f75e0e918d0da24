"use strict";
// A page or generator that stopped must not look healthy: nothing is green before a fresh `status.json` was read.
const page = document.documentElement, EVERY = 60000;

function show(age, text, href) {
  const notice = document.getElementById("age");
  page.dataset.age = age;
  if (notice.textContent === text) return;
  notice.textContent = text;
  if (!href) return;
  notice.textContent = "";
  const link = notice.appendChild(document.createElement("a"));
  link.href = href;
  link.textContent = text;
}

async function check() {
  try {
    const options = { cache: "no-store", signal: AbortSignal.timeout?.(20000) };
    const response = await fetch(`${page.dataset.root}status.json?at=${Date.now()}`, options);
    const build = (await response.json()).build, built = Date.parse(build.at);
    if (!response.ok || Number.isNaN(built)) throw new Error(response.status);
    const now = Math.max(Date.now(), Date.parse(response.headers.get("date")) || 0);
    const minutes = Math.round((now - built) / 60000);
    const time = build.at.slice(0, 16).replace("T", " ");
    if (build.late_after !== null && now - built > build.late_after * 1000)
      show("late", `Warning: this page is out of date. It was last built at ${time} UTC, ${minutes} minutes ago.`);
    else if (built > Date.parse(page.dataset.built))
      show("newer", `This page was built again at ${time} UTC. Show the newer page`, `?at=${built}`);
    else show(build.late_after === null ? "irregular" : "fresh", "");
  } catch {
    show("unread", "Warning: your browser cannot check whether this page is up to date. Reload it in a minute.");
  }
}

check();
setInterval(check, EVERY);
