"""Whether ops-maintenance answers at an address: what proves that something is off, or open again.

Every answer of its own names the run that stored what it says, in the header `ops-maintenance`; an application that
closes itself by its switch says `switch` there (docs/runtime-contract.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import httpx

from ops.core.threads import in_parallel
from ops.core.verdict import Assertion, ProbeResult, Verdict, worst
from ops.probes.challenge import stopped

if TYPE_CHECKING:
    from ops.core.verdict import Address
    from ops.probes.http import Web

HEADER = "ops-maintenance"
BY_SWITCH = "switch"
NAMED = 3
"""Addresses that a verdict names; the others are counted."""


def off_on_purpose(status: int, headers: Mapping[str, str]) -> Assertion | None:
    """What a probe says that met maintenance: nothing of the service, neither good nor bad."""
    if status != 503 or HEADER not in headers:
        return None
    who = "its own switch" if headers[HEADER] == BY_SWITCH else HEADER
    text = f"off on purpose: {who} answers 503 here, so nothing is known of the service"
    return Assertion("maintenance", Verdict.INCONCLUSIVE, text)


def probe(web: "Web", addresses: Sequence["Address"]) -> ProbeResult:
    """Ask each once. An address that cannot be reached proves nothing."""
    said = in_parallel([partial(_ask, web, address) for address in addresses])
    verdict = worst(each.verdict for each in said)
    telling = [f"{each.name} {each.detail}" for each in said if each.verdict == verdict]
    shown = "; ".join(telling[:NAMED]) + (f"; and {len(telling) - NAMED} more" if len(telling) > NAMED else "")
    if verdict == Verdict.HEALTHY:
        counted = "the address" if len(said) == 1 else f"each of {len(said)} addresses"
        shown = f"{counted} is {'answered 503' if addresses[0].is_off else 'not answered'} by {HEADER}"
    hint = next((each.hint for each in said if each.hint), "") if verdict == Verdict.INCONCLUSIVE else ""
    return ProbeResult("maintenance", verdict, (Assertion("status", verdict, shown, hint),))


def _ask(web: "Web", address: "Address") -> Assertion:
    name = f"{address.url} {address.way}".strip()
    try:
        response, body = web.look(address.url, {"accept": "application/json"})
    except httpx.RequestError as error:
        return Assertion(name, Verdict.INCONCLUSIVE, f"could not be reached ({type(error).__name__})")
    status = response.status_code
    if challenged := stopped(status, response.headers, body):
        return replace(challenged, name=name, detail=f"is not seen: {challenged.detail}")
    found = response.headers.get(HEADER) if status == 503 else None
    if not address.is_off:
        if found is None:
            return Assertion(name, Verdict.HEALTHY, f"is answered {status}, and not by {HEADER}")
        return Assertion(name, Verdict.UNHEALTHY, f"is answered 503 by {HEADER}: it is off")
    if found is None:
        return Assertion(name, Verdict.UNHEALTHY, f"is answered {status}, and not by {HEADER}: it is open")
    if address.run and found != address.run:
        return Assertion(name, Verdict.UNHEALTHY, f"is answered 503 by {HEADER}, but as an earlier run left it")
    return Assertion(name, Verdict.HEALTHY, f"is answered 503 by {HEADER}")
