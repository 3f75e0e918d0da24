"""A runbook that an assumption names does fail in a drill if the platform answers otherwise."""

from dataclasses import fields

import pytest

from ops.platform.measurements import read_assumptions
from sandbox.switches import Switches
from tests.support.drills import drill, switch_arguments

RELYING = {
    "worker-propagation": ("propagation_seconds=500", ("rollback-worker", "rotate-secrets", "reset-durable-object")),
    "pages-propagation": ("pages_propagation_seconds=600", ("rollback-pages", "redeploy-pages")),
    "pages-deployment-open": ("edge_access_before_deployments=true", ("rollback-pages", "redeploy-pages")),
    "kv-edge-lag": ("kv_staleness_seconds=300", ("feature", "ai-failover")),
}
"""Assumption → a switch with another answer, and the runbooks whose drill meets it."""
OTHERWISE = {"kv-edge-lag": {"maintenance"}}
"""Runbooks that rely on it only with `maintenance: switch`, which their drill does not use."""


def test_runbooks_are_those_of_the_table() -> None:
    """Of Cloudflare. `test_unreadable_permission_admits_only_listed_responders` is the row of GitHub."""
    of_cloudflare = {each.name for each in fields(Switches)}
    named = {
        each.id: {*each.runbooks} for each in read_assumptions() if each.runbooks and {*each.switches} & of_cloudflare
    }

    assert {name: {*runbooks} | OTHERWISE.get(name, set()) for name, (_, runbooks) in RELYING.items()} == named


@pytest.mark.parametrize(
    ("switch", "runbook"), [(switch, runbook) for switch, runbooks in RELYING.values() for runbook in runbooks]
)
def test_runbook_fails_under_another_answer(switch: str, runbook: str) -> None:
    result = drill(*switch_arguments(switch), name=runbook, ok=False)

    assert result["decision"] != "recovered", result
