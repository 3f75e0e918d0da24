"""Secrets of a Worker: list names, write values. An edit creates and deploys a version.

developers.cloudflare.com/workers/configuration/secrets
"""

from typing import Any

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
)
from sandbox.cloudflare.tokens.state import SCRIPTS_READ, SCRIPTS_WRITE
from sandbox.cloudflare.workers.versions import version_to_json

ROUTES = Routes()
_SECRETS = "/accounts/{account}/workers/scripts/{script}/secrets"
_MOST_IN_BULK = 100


@ROUTES.add("GET", _SECRETS, SCRIPTS_READ)
def list_secrets(call: CloudflareCall) -> CloudflareAnswer:
    """Return the names of the secrets in effect."""
    return CloudflareAnswer([_to_json(name) for name in call.worker.secrets_in_effect])


@ROUTES.add("PUT", _SECRETS, SCRIPTS_WRITE)
def put_secret(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/secrets/methods/update
    worker = call.worker
    secret = _secret(json_body(call.request), "body")
    require_latest_deployed(call, 10215)
    call.account.edit_secrets(worker, {secret["name"]: secret["text"]}, call.by())
    return CloudflareAnswer(_to_json(secret["name"]))


@ROUTES.add("DELETE", _SECRETS + "/{secret}", SCRIPTS_WRITE)
def delete_secret(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/secrets/methods/delete
    worker, name = call.worker, call.parameters["secret"]
    if name not in worker.secrets_in_effect:
        raise CloudflareRefusal(10056, f"Binding '{name}' not found.", status=404)
    require_latest_deployed(call, 10215)
    call.account.edit_secrets(worker, {name: None}, call.by())
    return CloudflareAnswer(None)


@ROUTES.add("PATCH", "/accounts/{account}/workers/scripts/{script}/secrets-bulk", SCRIPTS_WRITE)
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


@ROUTES.add("PATCH", "/accounts/{account}/workers/workers/{script}/versions/latest", SCRIPTS_WRITE)
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
