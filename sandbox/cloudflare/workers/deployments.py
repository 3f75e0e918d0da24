"""Deployments of a Worker: list the history, and deploy a version."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sandbox.clock import timestamp
from sandbox.cloudflare.call import NUMBER, CloudflareAnswer, CloudflareCall, Routes, fields, invalid, json_body
from sandbox.cloudflare.workers.state import FakeWorkerDeployment
from sandbox.cloudflare.workers.versions import changed_secrets_refusal, deployment_refusal, find_version, parse_number
from sandbox.switches import Switches

ROUTES = Routes()
_DEPLOYMENTS = "/accounts/{account}/workers/scripts/{script}/deployments"


@ROUTES.add("GET", _DEPLOYMENTS)
def list_deployments(call: CloudflareCall) -> CloudflareAnswer:
    """Return the deployments, newest first, in pages. Their default size is not documented [unsure: deployments-page].

    developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/deployments/methods/list
    """
    switches = call.account.switches
    history = call.worker.history[::-1]
    seen = [deployment for deployment in history if not call.worker.is_hidden(deployment.id)]
    size = len(seen) if switches.deployments_listed is None else switches.deployments_listed
    first = 0
    if switches.deployments_paged:
        since, until = _time_bound(call, "since"), _time_bound(call, "until")
        seen = [d for d in seen if (not since or d.created_on >= since) and (not until or d.created_on <= until)]
        size = parse_number(call, "per_page", default=size, most=1000)
        first = size * (parse_number(call, "page", default=1, most=10_000) - 1)
    return CloudflareAnswer(
        {"deployments": [_to_json(deployment, switches) for deployment in seen[first : first + size]]}
    )


def _time_bound(call: CloudflareCall, name: str) -> datetime | None:
    """Return an inclusive bound of the time range; None if the query has none."""
    text = call.request.query.get(name)
    try:
        moment = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise invalid(f"query.{name}", "must be a date and time as in RFC 3339") from None
    if moment is not None and moment.tzinfo is None:
        raise invalid(f"query.{name}", "must be a date and time as in RFC 3339")
    return moment


@ROUTES.add("POST", _DEPLOYMENTS)
def create_deployment(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/deployments/methods/create
    worker, account = call.worker, call.account
    body = fields(
        json_body(call.request),
        required={"strategy": str, "versions": list},
        optional={"annotations": dict, "code_update_strategy": dict},
    )
    if body["strategy"] != "percentage":
        raise invalid("body.strategy", 'must be "percentage"')
    percentages = _percentages(body["versions"])
    texts = fields(body.get("annotations", {}), required={}, optional={"workers/message": str}, at="body.annotations")
    strategy = code_update_strategy(body.get("code_update_strategy"), "body.code_update_strategy")
    versions = [find_version(worker, version_id) for version_id in percentages]
    for version in versions:
        if refusal := deployment_refusal(account, worker, version):
            raise refusal
    is_checked = account.switches.secrets_checked_without_traffic
    checked = [version for version in versions if is_checked or percentages[version.id] > 0]
    if call.request.query.get("force") != "true" and (refusal := changed_secrets_refusal(worker, checked)):
        raise refusal
    deployment = account.deploy(worker, percentages, call.by(texts), code_update_strategy=strategy)
    worker.hidden_reads[deployment.id] = account.switches.deployments_lag_reads
    return CloudflareAnswer(_to_json(deployment, account.switches))


def _percentages(versions: list[Any]) -> dict[str, float]:
    """Return the shares of one or two versions, which add up to 100. A share may be a fraction or 0.

    developers.cloudflare.com/workers/versions-and-deployments/gradual-deployments
    """
    if not 1 <= len(versions) <= 2:
        raise invalid("body.versions", "must hold one or two versions")
    shares: dict[str, float] = {}
    for index, item in enumerate(versions):
        entry = fields(
            item, required={"version_id": str, "percentage": NUMBER}, optional={}, at=f"body.versions[{index}]"
        )
        if not 0 <= entry["percentage"] <= 100:
            raise invalid(f"body.versions[{index}].percentage", "must be from 0 to 100")
        if entry["version_id"] in shares:
            raise invalid("body.versions", "names one version twice")
        shares[entry["version_id"]] = entry["percentage"]
    if not math.isclose(sum(shares.values()), 100, abs_tol=0.001):
        raise invalid("body.versions", "has percentages that do not add up to 100")
    return shares


def code_update_strategy(value: Any, at: str) -> Mapping[str, Any] | None:
    # developers.cloudflare.com/durable-objects/deployments/durable-objects-code-updates
    if value is None:
        return None
    strategy = fields(value, required={"mode": str}, optional={"max_delay": int}, at=at)
    if strategy["mode"] not in {"immediate", "deferred"}:
        raise invalid(f"{at}.mode", 'must be "immediate" or "deferred"')
    if strategy["mode"] == "immediate" and "max_delay" in strategy:
        raise invalid(f"{at}.max_delay", 'is not allowed with the mode "immediate"')
    if not 0 <= strategy.get("max_delay", 0) <= 86_400:
        raise invalid(f"{at}.max_delay", "must be from 0 to 86400 seconds")
    return strategy


def _to_json(deployment: FakeWorkerDeployment, switches: Switches) -> dict[str, Any]:
    answered = {
        "id": deployment.id,
        "source": deployment.source,
        "strategy": "percentage",
        "author_email": deployment.author_email,
        "created_on": timestamp(deployment.created_on),
        "annotations": deployment.annotations,
        "versions": [{"version_id": id, "percentage": share} for id, share in deployment.percentages.items()],  # noqa: A001
    }
    if switches.code_update_strategy_answered:
        answered["code_update_strategy"] = deployment.code_update_strategy or {"mode": "deferred", "max_delay": 300}
    return answered
