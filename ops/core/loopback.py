"""Which addresses are this machine's own: the only ones that may stand in for Cloudflare and GitHub."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def is_loopback(url: str) -> bool:
    """True for 127.0.0.0/8, ::1 and the name localhost; a URL with user information is never one."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or "@" in parts.netloc:
            return False
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_one_world(environ: Mapping[str, str]) -> bool:
    """A sandbox's run does not reach the real GitHub, nor a real one a sandbox's."""
    return is_loopback(environ.get("CLOUDFLARE_API_BASE_URL") or "https://-") == is_loopback(
        environ.get("GITHUB_API_URL") or "https://-"
    )
