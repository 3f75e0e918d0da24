"""Changes in the entries of Cloudflare's audit log: what a request changed.

Names of products in an entry are not documented, so the path of the request decides
[unsure: audit-products]. Bodies are never read.
developers.cloudflare.com/fundamentals/account/account-security/audit-logs
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from ops.cloudflare.types.records import AuditLogEntry

NOT_LOGGED = "values in KV (switches, limits) and D1 migrations that no button here changed: no audit log has them"
_DASHBOARD = "https://dash.cloudflare.com"
_WORKER = r"/workers/(?:scripts|services)/(?P<worker>[^/]+)"
_KINDS: tuple[tuple[str, str], ...] = (
    (rf"{_WORKER}/deployments", "deployment of Worker {worker}"),
    (rf"{_WORKER}/secrets.*", "secret of Worker {worker}"),
    (rf"{_WORKER}/schedules", "cron triggers of Worker {worker}"),
    (rf"{_WORKER}/versions.*", "version of Worker {worker}, uploaded"),
    (rf"{_WORKER}/subdomain", "workers.dev address of Worker {worker}"),
    (rf"{_WORKER}", "Worker {worker}, upload or removal"),
    (rf"{_WORKER}/.*", "settings of Worker {worker}"),
    (r"/zones/[^/]+/workers/routes.*", "route of a Worker"),
    (r"/workers/domains.*", "custom domain of a Worker"),
    (r"/pages/projects/(?P<site>[^/]+)/deployments.*", "deployment of site {site}"),
    (r"/pages/projects/(?P<site>[^/]+)/domains.*", "domain of site {site}"),
    (r"/pages/projects/(?P<site>[^/]+).*", "settings of site {site}, such as variables and secrets"),
    (r"/d1/database.*", "D1 database"),
    (r"/storage/kv/namespaces.*", "KV namespace"),
    (r"/zones/[^/]+/rulesets.*|/rulesets.*", "rules: firewall, rate limit, cache or redirect"),
    (r"/zones/[^/]+/dns_records.*", "DNS record"),
    (r"/zones/[^/]+/purge_cache", "cache purge"),
    (r"/zones/[^/]+/settings.*", "settings of a zone"),
)
"""Path below the account → what it changes. The first one that fits counts."""
_PATTERNS = tuple((re.compile(pattern), text) for pattern, text in _KINDS)
_ACCOUNT = re.compile(r"(?:/client/v4)?(?:/accounts/[^/]+)?(?P<path>/.*)")


@dataclass(frozen=True)
class AuditChange:
    """A request that succeeded. Its texts are untrusted."""

    what: str
    worker: str = ""
    site: str = ""

    def page(self, account: str) -> str:
        """Return its page in the dashboard."""
        if re.fullmatch(r"[\w-]+", self.worker):
            return f"{_DASHBOARD}/{account}/workers/services/view/{self.worker}/production/deployments"
        if re.fullmatch(r"[\w-]+", self.site):
            return f"{_DASHBOARD}/{account}/pages/view/{self.site}"
        return f"{_DASHBOARD}/{account}/audit-log"


def read_change(entry: AuditLogEntry) -> AuditChange | None:
    """Return the change of an entry; None if the request failed."""
    if entry.result not in {"", "success"} or (entry.status.isdigit() and int(entry.status) >= 400):
        return None
    match = _ACCOUNT.fullmatch(entry.uri)
    path = match["path"] if match else entry.uri
    for pattern, text in _PATTERNS:
        if found := pattern.fullmatch(path):
            names = {name: unquote(value) for name, value in found.groupdict().items()}
            return AuditChange(text.format_map(names), **names)
    return AuditChange(f"{entry.method} {path}")
