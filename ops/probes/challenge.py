"""Recognize a challenge, block or Access login of Cloudflare in place of the service.

developers.cloudflare.com/cloudflare-challenges/challenge-types/challenge-pages/detect-response
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from ops.core.verdict import Assertion, Verdict

HINT = (
    "Let this machine through: add a WAF skip rule or an Access service token, and send it with `request_headers` of "
    "the probe (docs/reference/ops-yml.md). Then run the same command again."
)
BROWSER_HINT = "Let this machine through with a WAF skip rule. Then run the same command again."
CHALLENGE_PAGE = b"_cf_chl_opt"
"""Text of every challenge page. Normal pages may contain `/cdn-cgi/challenge-platform/`, so that is not used."""
BLOCK_PAGES = b"cf-error-details", b"error code: 10"
"""Texts of a block page, in HTML and plain text. Codes from 1100 are errors of the Worker."""
MAX_BYTES_READ = 50_000
ACCESS_DOMAIN = ".cloudflareaccess.com"


def detect_challenge(
    status: int, headers: Mapping[str, str], body: bytes = b"", *, expected_status: int = 0
) -> Assertion | None:
    """Return an inconclusive assertion if Cloudflare answered instead of the service; None otherwise.

    A block is accepted if the probe expects its status.
    """
    who = _find_blocker(status, headers, body[:MAX_BYTES_READ], is_wanted=status == expected_status)
    if not who:
        return None
    text = f"{who} answered with status {status}, so the state of the service is unknown"
    return Assertion("challenge", Verdict.INCONCLUSIVE, text, HINT)


def _find_blocker(status: int, headers: Mapping[str, str], body: bytes, *, is_wanted: bool) -> str:
    if "challenge" in headers.get("cf-mitigated", "") or (status in {403, 429, 503} and CHALLENGE_PAGE in body):
        return "a Cloudflare bot challenge"
    if status in {403, 429} and not is_wanted and (BLOCK_PAGES[0] in body or body.startswith(BLOCK_PAGES[1])):
        return "a Cloudflare firewall rule"
    if 300 <= status < 400 and redirect_host(headers.get("location", "")).endswith(ACCESS_DOMAIN):
        return "a login page of Cloudflare Access"
    return ""


def redirect_host(location: str) -> str:
    """Return the host of a `location` header; empty if it has none, or one with unusual characters."""
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return ""
    return host if host.isascii() and host.isprintable() else ""
