"""Observe one answer of the edge, without a judgment of a service."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from ops.probes.edge_answer import add_cache_buster, judge_answer
from ops.probes.http import NO_HEADERS, ProbeClient


@dataclass(frozen=True)
class Observation:
    status: int
    body: bytes
    place: str
    """Airport code of the data center; empty if the answer names none."""
    is_from_cache: bool


def observe_edge(web: ProbeClient, url: str, headers: Mapping[str, str] = NO_HEADERS) -> Observation | None:
    """Send a GET with a unique query value; None if no answer came."""
    try:
        response, body = web.fetch(add_cache_buster(url), headers)
    except httpx.RequestError:
        return None
    answer = judge_answer(response.status_code, response.headers, body)
    return Observation(response.status_code, body, answer.place, bool(answer.cached))
