// On every page: mark the current page in the navigation.
for (const link of document.querySelectorAll("nav a")) {
  if (link.pathname === location.pathname) {
    link.setAttribute("aria-current", "page");
  }
}

// On every page: the banner that the team shows during an incident or a maintenance, until its end.
const api = document.querySelector("meta[name=api]").content;
const { banner } = await fetch(`${api}/api/banner`)
  .then((answer) => (answer.ok ? answer.json() : {}))
  .catch(() => ({}));
const seconds = banner?.until ? (Date.parse(banner.until) - Date.now()) / 1000 : Infinity;
if (banner && seconds > 0) {
  const shown = document.createElement("p");
  shown.className = `banner ${banner.level === "warning" ? "warning" : "info"}`;
  shown.setAttribute("role", "status");
  shown.textContent = banner.text; // never as HTML
  document.body.prepend(shown);
  if (seconds < 86400) {
    setTimeout(() => shown.remove(), seconds * 1000);
  }
}
