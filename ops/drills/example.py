"""Deploy and use the example application in the real runtime, with its keys."""

import http.client
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ops.drills import scenario_release
from ops.drills.scenario_leak import KEYS

if TYPE_CHECKING:
    from ops.config import Service
    from sandbox import Sandbox

GOOD, BAD_SESSIONS, STUCK = "src/index.js", "src/index.sessions.bad.js", "src/index.stuck.bad.js"
INTERPRET = "/api/charts/interpret"
BIRTH = {"date": "1990-05-17", "time": "08:30"}


def deploy_example(sandbox: "Sandbox", service: "Service", entry: str, *, admin: str) -> None:
    """Deploy the example with all its secrets: keys that the sandbox's providers accept, and `admin`.

    Raises ConfigError.
    """
    scenario_release.deploy_with_wrangler(sandbox, service, "good", entry)
    secrets = {"JWT_SECRET": "drill-jwt-0123456789", "ADMIN_TOKEN": admin}
    secrets |= {name: sandbox.providers[of].add_key(f"drill-{of}-0123456789") for name, of in KEYS.items()}
    for name, value in secrets.items():
        sandbox.put_secret(service.worker, name, value)


def interpret_example(sandbox: "Sandbox", service: "Service") -> None:
    """Request an interpretation as an anonymous user.

    The response is ignored: the application remembers the outcome.
    """
    edge = urlsplit(sandbox.edge_url)
    connection = http.client.HTTPConnection(edge.hostname or "", edge.port)
    try:
        headers = {"host": urlsplit(service.url).netloc, "content-type": "application/json"}
        connection.request("POST", INTERPRET, json.dumps(BIRTH), headers)
        connection.getresponse().read()
    finally:
        connection.close()
