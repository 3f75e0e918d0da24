"""Read the components of a status page on Atlassian Statuspage.

www.cloudflarestatus.com/api, www.githubstatus.com/api: /api/v2/components.json, without a token.
"""

import json
from collections.abc import Mapping

import httpx

from ops.probes.http import ProbeClient

OPERATIONAL = "operational"


def read_components(web: ProbeClient, page: str, *, group: str = "") -> Mapping[str, str] | None:
    """Return component → status, such as `partial_outage`; None if the page cannot be read.

    With `group`, only the components of the group with that name.
    """
    try:
        response, body = web.fetch(f"{page}/api/v2/components.json")
        rows = json.loads(body)["components"] if response.status_code == 200 else None
        if not isinstance(rows, list):
            return None
        groups = {str(row["id"]) for row in rows if row["name"] == group}
        wanted = (row for row in rows if not group or str(row.get("group_id")) in groups)
        return {str(row["name"]): str(row["status"]) for row in wanted}
    except (httpx.RequestError, ValueError, LookupError, TypeError, AttributeError):
        return None
