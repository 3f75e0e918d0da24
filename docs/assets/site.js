// Two findings of axe in the theme: each copy button is a landmark without a name, and a wide table cannot be scrolled
// by keyboard. The theme adds both after the page has loaded.
const mend = () => {
  for (const bar of document.querySelectorAll("nav.md-code__nav:not([role])")) bar.setAttribute("role", "none")
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) table.tabIndex = 0
}
new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true })
mend()
