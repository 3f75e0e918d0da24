"""Tell our own requests from those of clients, by user agent or by number of rounds."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ops.core.bounded_http import MAX_PAGE_URLS
from ops.core.errors import ConfigError

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.probes import Probe


def probes_with_other_agent(service: "Service") -> tuple["Probe", ...]:
    """Return the probes of a watch whose requests do not have our user agent."""
    return tuple(each for each in service.watched_probes if not _has_our_agent(each))


def _has_our_agent(probe: "Probe") -> bool:
    request = probe.http or probe.page
    return request is not None and "user-agent" not in {name.lower() for name in request.request_headers}


def count_requests(probes: "Iterable[Probe]") -> int:
    """Return the most requests of one round. Raises ConfigError for probes whose requests cannot be counted."""
    probes = tuple(probes)
    if uncountable := [each.name for each in probes if not (each.http or each.page)]:
        raise ConfigError(f"the requests of probe {', '.join(uncountable)} cannot be counted")
    return sum(MAX_PAGE_URLS if each.page else 1 for each in probes)
