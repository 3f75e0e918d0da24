"""Settings of a script: versioned and unversioned ones, and its cron triggers."""

from dataclasses import replace
from typing import Any

from sandbox.clock import timestamp
from sandbox.cloudflare.call import CloudflareAnswer, CloudflareCall, Routes, fields, invalid, json_body, parse
from sandbox.cloudflare.tokens.state import SCRIPTS_READ, SCRIPTS_WRITE
from sandbox.cloudflare.workers.secrets import require_latest_deployed
from sandbox.cloudflare.workers.uploads import form_parts, parse_bindings, split_secrets
from sandbox.cloudflare.workers.versions import version_to_json

ROUTES = Routes()
_SCRIPT = "/accounts/{account}/workers/scripts/{script}"
SCRIPT_SETTINGS = {"logpush": bool, "observability": dict, "tags": list, "tail_consumers": list}
"""Unversioned: a rollback does not restore them."""
_VERSIONED = {
    "bindings": list,
    "compatibility_date": str,
    "compatibility_flags": list,
    "limits": dict,
    "placement": dict,
    "usage_model": str,
}


@ROUTES.add("GET", _SCRIPT + "/settings", SCRIPTS_READ)
def get_settings(call: CloudflareCall) -> CloudflareAnswer:
    """Return the settings of the latest version, deployed or not.

    developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/script_and_version_settings
    """
    return _settings(call)


def _settings(call: CloudflareCall) -> CloudflareAnswer:
    worker = call.worker
    assert worker.latest is not None
    resources = version_to_json(worker.latest, worker, call.account.switches)["resources"]
    placement = worker.latest.upload.placement
    return CloudflareAnswer(
        {
            "bindings": resources["bindings"],
            **resources["script_runtime"],
            **({"placement": placement} if placement else {}),
            "logpush": False,
            "observability": {"enabled": False},
            "tags": [],
            "tail_consumers": [],
            **worker.script_settings,
        }
    )


@ROUTES.add("PATCH", _SCRIPT + "/settings", SCRIPTS_WRITE)
def patch_settings(call: CloudflareCall) -> CloudflareAnswer:
    """Create and deploy a version like the latest but with these settings. `bindings` replaces all bindings.

    The body is a form with one part, `settings`. Like the edit of a secret, it is refused unless the latest version is
    deployed.
    """
    worker, account = call.worker, call.account
    part = form_parts(call.request).get("settings")
    if part is None:
        raise invalid("body", 'lacks the part "settings"')
    given = fields(parse(part.content), required={}, optional={**_VERSIONED, **SCRIPT_SETTINGS}, at="settings")
    require_latest_deployed(call, 10214)
    assert worker.latest is not None
    previous = worker.latest.upload
    changes: dict[str, Any] = {key: given[key] for key in ("compatibility_date", "limits", "placement") if key in given}
    if "compatibility_flags" in given:
        changes["compatibility_flags"] = tuple(given["compatibility_flags"])
    if "bindings" in given:
        sent = parse_bindings(given["bindings"], previous, keep=(), strict=True, at="settings")
        changes["bindings"], changes["secrets"] = split_secrets(sent)
    worker.script_settings |= {key: given[key] for key in SCRIPT_SETTINGS if key in given}
    if given.keys() & _VERSIONED.keys():
        version = account.add_version(worker, replace(previous, **changes), call.by())
        account.deploy(worker, {version.id: 100}, call.by())
    return _settings(call)


@ROUTES.add("GET", _SCRIPT + "/script-settings", SCRIPTS_READ)
def get_script_settings(call: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer(call.worker.script_settings)


@ROUTES.add("PATCH", _SCRIPT + "/script-settings", SCRIPTS_WRITE)
def patch_script_settings(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/settings/methods/edit
    worker = call.worker
    worker.script_settings |= fields(json_body(call.request), required={}, optional=SCRIPT_SETTINGS)
    return CloudflareAnswer(worker.script_settings)


@ROUTES.add("GET", _SCRIPT + "/schedules", SCRIPTS_READ)
def get_schedules(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/schedules/methods/get
    return CloudflareAnswer({"schedules": call.worker.schedules})


@ROUTES.add("PUT", _SCRIPT + "/schedules", SCRIPTS_WRITE)
def put_schedules(call: CloudflareCall) -> CloudflareAnswer:
    """Replace all cron triggers; an empty list removes them. They are not versioned."""
    worker, body, now = call.worker, json_body(call.request), timestamp(call.account.clock.now())
    if not isinstance(body, list):
        raise invalid("body", "must be a list")
    crons = [
        fields(entry, required={"cron": str}, optional={}, at=f"body[{i}]")["cron"] for i, entry in enumerate(body)
    ]
    worker.schedules = [{"cron": cron, "created_on": now, "modified_on": now} for cron in crons]
    return CloudflareAnswer({"schedules": worker.schedules})
