// On every page: mark the current page in the navigation.
for (const link of document.querySelectorAll("nav a")) {
  if (link.pathname === location.pathname) {
    link.setAttribute("aria-current", "page");
  }
}
