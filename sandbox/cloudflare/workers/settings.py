"""Settings and secrets of a script: versioned and unversioned ones, and its cron triggers.

An edit of a secret creates and deploys a version. developers.cloudflare.com/workers/configuration/secrets
"""

from dataclasses import replace
from typing import Any

from sandbox.clock import timestamp
from sandbox.cloudflare.call import (
    JSON,
    MERGE_PATCH,
    CloudflareAnswer,
    CloudflareCall,
    CloudflareRefusal,
    Routes,
    fields,
    invalid,
    json_body,
    parse,
)
from sandbox.cloudflare.workers.uploads import form_parts, parse_bindings, split_secrets
from sandbox.cloudflare.workers.versions import version_to_json

ROUTES = Routes()
_SCRIPT = "/accounts/{account}/workers/scripts/{script}"
_SECRETS = _SCRIPT + "/secrets"
_MOST_IN_BULK = 100
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


@ROUTES.add("GET", _SECRETS)
def list_secrets(call: CloudflareCall) -> CloudflareAnswer:
    """Return the names of the secrets in effect."""
    return CloudflareAnswer([_to_json(name) for name in call.worker.secrets_in_effect])


@ROUTES.add("PUT", _SECRETS)
def put_secret(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/secrets/methods/update
    worker = call.worker
    secret = _secret(json_body(call.request), "body")
    require_latest_deployed(call, 10215)
    call.account.edit_secrets(worker, {secret["name"]: secret["text"]}, call.by())
    return CloudflareAnswer(_to_json(secret["name"]))


@ROUTES.add("DELETE", _SECRETS + "/{secret}")
def delete_secret(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/secrets/methods/delete
    worker, name = call.worker, call.parameters["secret"]
    if name not in worker.secrets_in_effect:
        raise CloudflareRefusal(10056, f"Binding '{name}' not found.", status=404)
    require_latest_deployed(call, 10215)
    call.account.edit_secrets(worker, {name: None}, call.by())
    return CloudflareAnswer(None)


@ROUTES.add("PATCH", "/accounts/{account}/workers/scripts/{script}/secrets-bulk")
def patch_secrets(call: CloudflareCall) -> CloudflareAnswer:
    """Edit several secrets with one version and one deployment. null deletes; unnamed secrets stay."""
    worker = call.worker
    kind = JSON if call.request.headers.get_content_type() == JSON else MERGE_PATCH  # the SDK sends plain JSON
    body = fields(json_body(call.request, kind), required={"secrets": dict}, optional={})
    if len(body["secrets"]) > _MOST_IN_BULK:
        raise CloudflareRefusal(100160, f"At most {_MOST_IN_BULK} secrets can be changed in one call.")
    edits = {name: _text(name, value) for name, value in body["secrets"].items()}
    require_latest_deployed(call, 10214)
    call.account.edit_secrets(worker, edits, call.by())
    return CloudflareAnswer({name: _to_json(name) for name in worker.secrets_in_effect})


@ROUTES.add("PATCH", "/accounts/{account}/workers/workers/{script}/versions/latest")
def patch_latest_version(call: CloudflareCall) -> CloudflareAnswer:
    """Edit secrets as `wrangler versions secret` does: a new version of the latest one, not deployed.

    developers.cloudflare.com/api/resources/workers/subresources/beta/subresources/workers/subresources/versions
    """
    worker = call.worker
    body = fields(json_body(call.request, MERGE_PATCH), required={"env": dict}, optional={"annotations": dict})
    known = {"workers/message": str, "workers/tag": str}
    texts = fields(body.get("annotations", {}), required={}, optional=known, at="body.annotations")
    if worker.latest is None:
        raise CloudflareRefusal(10222, "This Worker has no versions.", status=404)
    edits = {name: _env_text(name, value) for name, value in body["env"].items()}
    version = call.account.add_version_with_secrets(worker, edits, call.by(texts))
    return CloudflareAnswer(version_to_json(version, worker, call.account.switches))


def require_latest_deployed(call: CloudflareCall, code: int) -> None:
    """Refuse an edit if the latest version does not serve all traffic: the edit would deploy that version.

    Raises:
        CloudflareRefusal: another version or a split is live.
    """
    worker, latest = call.worker, call.worker.latest
    in_a_split = latest is not None and latest.id in worker.live and call.account.switches.secret_edit_ends_split
    if latest is None or (worker.live != {latest.id: 100} and not in_a_split):
        raise CloudflareRefusal(
            code, "The latest version of this Worker is not deployed: deploy it before editing secrets."
        )


def _text(name: str, value: Any) -> str | None:
    return None if value is None else str(_secret(value, f"body.secrets.{name}", name)["text"])


def _env_text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    return str(_secret({"name": name, **value} if isinstance(value, dict) else value, f"body.env.{name}")["text"])


def _secret(value: Any, at: str, name: str | None = None) -> dict[str, Any]:
    secret = fields(value, required={"name": str, "text": str, "type": str}, optional={}, at=at)
    if secret["type"] != "secret_text":
        raise invalid(f"{at}.type", 'must be "secret_text"')
    if name not in {None, secret["name"]}:
        raise invalid(f"{at}.name", "differs from its key")
    return secret


def _to_json(name: str) -> dict[str, str]:
    return {"name": name, "type": "secret_text"}


@ROUTES.add("GET", _SCRIPT + "/settings")
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


@ROUTES.add("PATCH", _SCRIPT + "/settings")
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


@ROUTES.add("GET", _SCRIPT + "/script-settings")
def get_script_settings(call: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer(call.worker.script_settings)


@ROUTES.add("PATCH", _SCRIPT + "/script-settings")
def patch_script_settings(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/settings/methods/edit
    worker = call.worker
    worker.script_settings |= fields(json_body(call.request), required={}, optional=SCRIPT_SETTINGS)
    return CloudflareAnswer(worker.script_settings)


@ROUTES.add("GET", _SCRIPT + "/schedules")
def get_schedules(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/schedules/methods/get
    return CloudflareAnswer({"schedules": call.worker.schedules})


@ROUTES.add("PUT", _SCRIPT + "/schedules")
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
