"""Each recovery is broken once, in its own way, and its drill fails, as the scorecard of `ops drill all` says.

A fault of the sandbox breaks it, in the file that `--faults` reads. Nothing of the program is changed.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.core.drill_result import DrillOutcome
from ops.drills import names
from ops.drills.scorecard import PlannedDrill, score_result
from ops.drills.support import TRIGGERS, Trigger
from tests.support.drills import drill, switch_arguments, unsupported_reason

WORKER, SITE = "/accounts/*/workers/scripts/*", "/accounts/*/pages/projects/*"
COMMENTS = "/repos/*/*/issues/*/comments"
STALE = {"cf-cache-status": "HIT", "age": "600"}
ANYBODY_WRITES = json.dumps({"permission": "write", "role_name": "write", "user": {"login": "drill-stranger"}})
BREAKS: Mapping[str, dict[str, Any]] = {
    "rollback-worker": {"method": "POST", "path": f"{WORKER}/deployments", "status": 400},
    "rollback-pages": {"method": "POST", "path": f"{SITE}/deployments/*/rollback", "status": 403},
    "redeploy-pages": {"method": "POST", "path": "/pages/assets/upload", "status": 403},
    "rotate-secrets": {"method": "PATCH", "path": f"{WORKER}/secrets-bulk", "status": 403},
    "rotate-secrets-after-rollback": {"method": "POST", "path": f"{WORKER}/versions", "status": 400},
    "maintenance": {"method": "PUT", "path": "/zones/*/workers/routes/*", "status": 403},
    "feature": {"method": "PUT", "path": "/accounts/*/storage/kv/**", "lost": "before"},
    "ai-failover": {"method": "PUT", "path": "/accounts/*/storage/kv/**", "status": 403},
    "ai-off": {"path": "/accounts/*/storage/kv/**", "code": 10000, "status": 401},
    "reset-durable-object": {"method": "POST", "path": f"{WORKER}/versions", "code": 10021, "status": 400},
    "restore-database": {"method": "POST", "path": "**/time_travel/restore", "status": 403},
    "revert-migration": {"method": "POST", "path": "/accounts/*/d1/database/*/query", "status": 403},
    "relapse": {"part": "github", "method": "POST", "path": COMMENTS, "status": 403, "skip": 1},
    "noisy-watch": {"part": "edge", "status": 500, "skip": 60},
    "long-incident": {"part": "github", "method": "PATCH", "path": "/repos/*/*/issues/comments/*", "status": 403},
    "stopped": {"part": "github", "method": "POST", "path": "/repos/*/*/issues/*/labels", "status": 403},
    "held-deploy": {"method": "POST", "path": f"{WORKER}/versions", "status": 500},
    "bad-deploy-guarded": {"part": "edge", "status": 503},
    "tell": {"part": "github", "method": "POST", "path": "/repos/*/*/pages/deployments", "status": 500},
    "tell-provider": {"part": "edge", "host": "api.statuspage.io", "status": 500},
    "unauthorized-label": {
        "part": "github",
        "path": "/repos/*/*/collaborators/*/permission",
        "body": ANYBODY_WRITES,
        "content_type": "application/json",
    },
    "two-labels": {"part": "github", "path": "/repos/*/*/issues/*/events", "status": 503},
    "github-down": {"part": "github", "path": COMMENTS, "status": 502},
    "token-revoked": {"method": "POST", "path": f"{WORKER}/deployments", "status": 403},
    "target-gone": {"method": "GET", "path": f"{WORKER}/versions/*", "status": 500},
    "lying-probe": {"part": "edge", "headers": STALE},
    "package-index-down": {"part": "github", "method": "POST", "path": COMMENTS, "status": 403},
    "limits": {"method": "PUT", "path": "/accounts/*/storage/kv/**", "status": 500},
    "cloudflare-outage": {"part": "edge", "host": "www.cloudflarestatus.com", "status": 500},
    "edge-outage": {"code": 9106, "status": 403},
}
"""Drill → the requests that fail while it recovers."""


def test_each_drill_has_its_own_break() -> None:
    assert list(BREAKS) == sorted(BREAKS, key=list(names()).index)
    assert BREAKS.keys() == set(names())
    assert len({json.dumps(rule, sort_keys=True) for rule in BREAKS.values()}) == len(BREAKS)


WITH_CARD = ("rollback-worker", "unauthorized-label", "edge-outage")
"""Drills whose break goes through `ops drill all`, which starts the same command as the other test, and scores it."""


@pytest.mark.parametrize("name", [each for each in BREAKS if each not in WITH_CARD])
def test_broken_recovery_fails_its_drill(name: str, tmp_path: Path) -> None:
    trigger, given = broken(name, tmp_path)

    result = drill("--edge", "embedded", *given, name=name, ok=False)

    scored = score_result(PlannedDrill(name, "embedded", trigger), "production", result, datetime.now(UTC), 1.0)
    assert scored.result.outcome in {DrillOutcome.FAILED, DrillOutcome.NO_EVIDENCE}
    assert scored.exit_code not in {0, 1, 2}, result


@pytest.mark.parametrize("name", WITH_CARD)
def test_broken_recovery_fails_the_scorecard(name: str, tmp_path: Path) -> None:
    trigger, given = broken(name, tmp_path)

    card = drill("--only", name, "--edge", "embedded", *given, name="all", ok=False)

    (row,) = card["drills"]
    assert (card["passed"], row["name"], row["trigger"]) == (0, name, trigger)
    assert row["outcome"] in {"failed", "no_evidence"}
    assert card["exit_code"] not in {0, 1, 2}, row


def broken(name: str, folder: Path) -> tuple[Trigger, list[str]]:
    """Return the last trigger that the drill supports, and the options that break its recovery."""
    faults = folder / "faults.json"
    faults.write_text(json.dumps([{"times": None, **BREAKS[name]}]))
    trigger = next(each for each in reversed(TRIGGERS) if not unsupported_reason(name, "embedded", each))
    return trigger, ["--trigger", trigger, "--faults", str(faults), *switch_arguments("kv_staleness_seconds=0")]
