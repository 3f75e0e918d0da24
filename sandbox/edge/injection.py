"""Scripts that a zone injects into the HTML of a site, and their files. Not on pages.dev.

developers.cloudflare.com: web-analytics/get-started, waf/tools/scrape-shield/email-address-obfuscation,
cloudflare-challenges/challenge-types/javascript-detections, speed/optimization/content/rocket-loader.
The files are the sandbox's own: they do what a page sees of Cloudflare's.
"""

import random
import re

from sandbox.server import HttpResponse
from sandbox.switches import Switches

BEACON = (
    b'<script defer src="https://static.cloudflareinsights.com/beacon.min.js/v8c78df7c7c0f484497ecbca7046644da" '
    b'integrity="sha512-8DS7rgIrAmghBFwoOTujcf6D9rXvH8xm8JQ1Ja01h9QX8EzXldiszufYa4IFfKdLUKTTrnSFXLDkUEOTrZQ8Qg==" '
    b"""data-cf-beacon='{"version":"2026.11.0","token":"0123","r":%d}' crossorigin="anonymous"></script>\n"""
)
DECODER_FILE = "/cdn-cgi/scripts/5c5dd728/cloudflare-static/email-decode.min.js"
DECODER = b'<script data-cfasync="false" src="%s"></script>' % DECODER_FILE.encode()
DETECTION_FILE = "/cdn-cgi/challenge-platform/scripts/jsd/main.js"
DETECTION = (
    b"<script>(function(){function c(){var b=a.contentDocument||a.contentWindow.document;if(b){var d=b.createElement"
    b"('script');d.innerHTML=\"window.__CF$cv$params={r:'%016x',t:'MTc2'};var a=document.createElement('script');a.src="
    b"'" + DETECTION_FILE.encode() + b"';\"}}})();</script>"
)
LOADER_FILE = "/cdn-cgi/scripts/7d0fa10a/cloudflare-static/rocket-loader.min.js"
LOADER = b'<script src="' + LOADER_FILE.encode() + b'" data-cf-settings="%s-|49" defer></script>'
FILES = {
    LOADER_FILE: b"""(function () {
  var key = document.currentScript.getAttribute("data-cf-settings").split("|")[0];
  var waiting = Array.from(document.querySelectorAll('script[type^="' + key + '"]'));
  window.__cfRLUnblockHandlers = true;
  function runNext() {
    var held = waiting.shift();
    if (!held) return;
    var script = document.createElement("script");
    Array.from(held.attributes).forEach(function (each) { script.setAttribute(each.name, each.value); });
    if (held.nonce) script.nonce = held.nonce;
    script.type = held.type.slice(key.length);
    script.text = held.text;
    script.onload = script.onerror = runNext;
    held.replaceWith(script);
    if (!script.src) runNext();
  }
  runNext();
})();
""",
    DECODER_FILE: b"""(function () {
  function decode(hidden) {
    var bytes = hidden.match(/../g).map(function (each) { return parseInt(each, 16); });
    return bytes.slice(1).map(function (each) { return String.fromCharCode(each ^ bytes[0]); }).join("");
  }
  document.querySelectorAll('a[href*="/cdn-cgi/l/email-protection#"]').forEach(function (link) {
    link.href = "mailto:" + decode(link.href.split("#")[1]);
  });
  document.querySelectorAll(".__cf_email__").forEach(function (span) {
    span.replaceWith(decode(span.dataset.cfemail));
  });
})();
""",
    DETECTION_FILE: b"",
}
"""Path → script, at each host of a zone: developers.cloudflare.com/fundamentals/reference/cdn-cgi-endpoint"""
ADDRESS = rb"[A-Za-z0-9._-]{1,64}@[A-Za-z0-9.-]{1,100}\.[a-z]{2,10}"
_random = random.Random(0)  # noqa: S311  (as another number with each request)


def find_file(path: str) -> HttpResponse | None:
    """Return a script that a zone injects; None for another path."""
    script = FILES.get(path)
    headers = [("content-type", "application/javascript"), ("cache-control", "max-age=172800, public")]
    return None if script is None else HttpResponse(headers=headers, body=script)


def inject_scripts(response: HttpResponse, switches: Switches) -> HttpResponse:
    """Return the response with the additions of the zone to an HTML page."""
    is_html = dict(response.headers).get("content-type", "").startswith("text/html")
    if not is_html or b"<" not in response.body:
        return response
    html = response.body
    if switches.edge_obfuscates_emails:
        html = _without_emails(html)
    if switches.edge_rocket_loader:
        html = _deferred(html)
    if switches.edge_detects_bots_by_script:
        html = _before_end(html, DETECTION % _random.getrandbits(64))
    if switches.edge_injects_beacon:
        html = _before_end(html, BEACON % _random.getrandbits(16))
    response.body = html
    return response


def _before_end(html: bytes, script: bytes) -> bytes:
    """Add the script to the end of the body, or of the page if it has no body."""
    before, end, after = html.rpartition(b"</body>")
    return before + script + end + after if end else html + script


def _without_emails(html: bytes) -> bytes:
    linked = re.sub(
        rb'href="mailto:([^"]{3,200})"', lambda m: b'href="/cdn-cgi/l/email-protection#%s"' % _hidden(m[1]), html
    )
    within = re.sub(rb"(<a\b[^>]*email-protection#[^>]*>)(" + ADDRESS + rb")(</a>)", _as_span, linked)
    alone = re.sub(rb">([^<>]*?)(" + ADDRESS + rb")", _as_link, within)
    return html if alone == html else _before_end(alone, DECODER)


def _as_span(found: re.Match[bytes]) -> bytes:
    hidden = b'<span class="__cf_email__" data-cfemail="%s">[email&#160;protected]</span>' % _hidden(found[2])
    return found[1] + hidden + found[3]


def _as_link(found: re.Match[bytes]) -> bytes:
    link = b'<a href="/cdn-cgi/l/email-protection" class="__cf_email__" data-cfemail="%s">[email&#160;protected]</a>'
    return b">" + found[1] + link % _hidden(found[2])


def _hidden(address: bytes) -> bytes:
    key = _random.randrange(1, 256)
    return bytes([key, *(each ^ key for each in address)]).hex().encode()


def _deferred(html: bytes) -> bytes:
    key = b"%024x" % _random.getrandbits(96)
    typed = re.sub(rb"<script((?![^>]*type=)[^>]*)>", rb'<script\1 type="%s-text/javascript">' % key, html)
    typed = typed.replace(b'type="module"', b'type="%s-module"' % key)
    guarded = re.sub(
        rb' (on[a-z]+)="([^"]*)"',
        rb' \1="if (!window.__cfRLUnblockHandlers) return false; \2" data-cf-modified-%s-=""' % key,
        typed,
    )
    return _before_end(guarded, LOADER % key)
