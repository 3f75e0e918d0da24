// On every page: mark where one is.
for (const link of document.querySelectorAll("nav a")) {
  if (link.pathname === location.pathname) {
    link.setAttribute("aria-current", "page");
  }
}
