"""Versions of a Worker: list, read, and check whether one can be deployed.

developers.cloudflare.com/workers/versions-and-deployments/rollbacks
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from sandbox.clock import timestamp
from sandbox.cloudflare.account import FakeAccount
from sandbox.cloudflare.call import CloudflareAnswer, CloudflareCall, CloudflareRefusal, Routes, invalid
from sandbox.cloudflare.workers.state import FakeWorker, FakeWorkerVersion, WorkerUpload
from sandbox.switches import Switches

DEPLOYABLE_VERSIONS = 100
"""Number of most recently uploaded versions that can be deployed."""

_RESOURCES: dict[str, tuple[str, Callable[[str], CloudflareRefusal]]] = {
    "kv_namespace": ("namespace_id", lambda id: CloudflareRefusal(10041, f"KV namespace '{id}' not found.")),  # noqa: A006
    "r2_bucket": ("bucket_name", lambda name: CloudflareRefusal(10085, f"R2 bucket '{name}' not found.")),
    "queue": ("queue_name", lambda name: CloudflareRefusal(11000, f'Queue "{name}" does not exist.')),
}


def list_deployable(account: FakeAccount, worker: FakeWorker) -> list[FakeWorkerVersion]:
    """Return the versions that can be deployed, newest first."""
    return [version for version in _recent_versions(worker) if _permanent_refusal(account, worker, version) is None]


def deployment_refusal(
    account: FakeAccount, worker: FakeWorker, version: FakeWorkerVersion
) -> CloudflareRefusal | None:
    """Return the reason why the version cannot be deployed even with `?force=true`; None if it can."""
    if all(version.id != recent.id for recent in _recent_versions(worker)):
        return CloudflareRefusal(10210, f"Version {version.id} is not one of the {DEPLOYABLE_VERSIONS} most recent.")
    live = [worker.versions[each] for each in worker.live if each in worker.versions]
    if any(_live_classes(each) != _live_classes(version) for each in live):
        return CloudflareRefusal(100402, "The exports of this version do not match the provisioned Durable Objects.")
    return _permanent_refusal(account, worker, version)


def _live_classes(version: FakeWorkerVersion) -> set[str]:
    """Return the declared classes that are no tombstones (…/durable-objects/reference/durable-objects-migrations)."""
    entries = (version.upload.exports or {}).items()
    objects = {name: each for name, each in entries if each.get("type") == "durable-object"}
    return {name for name, each in objects.items() if each.get("state", "created") in {"created", "expecting-transfer"}}


def _recent_versions(worker: FakeWorker) -> list[FakeWorkerVersion]:
    return list(worker.versions.values())[: -DEPLOYABLE_VERSIONS - 1 : -1]


def _permanent_refusal(
    account: FakeAccount, worker: FakeWorker, version: FakeWorkerVersion
) -> CloudflareRefusal | None:
    """Return the refusal for a migration or a deleted resource.

    The page documents these refusals but not their codes; those of resources are the codes of an upload.
    """
    if version.upload.migration_tag != worker.migration_tag:
        return CloudflareRefusal(
            10210, f"A Durable Object migration lies between version {version.id} and the active one."
        )
    for binding in version.upload.bindings:
        field, error = _RESOURCES.get(binding["type"], ("", None))
        if error and binding.get(field) in account.deleted_resources:
            return error(binding[field])
    return None


def changed_secrets_refusal(worker: FakeWorker, versions: list[FakeWorkerVersion]) -> CloudflareRefusal | None:
    """Return the refusal that `?force=true` overrides. wrangler reads the names after the last colon."""
    names = sorted({name for version in versions for name in worker.changed_secrets(version)})
    if not names:
        return None
    hint = "Add the query parameter ?force=true to deploy it all the same."
    listed = f"The following secrets have changed: {', '.join(names)}"
    return CloudflareRefusal(10220, f"A secret has changed since this version was active. {hint} {listed}")


ROUTES = Routes()
_VERSIONS = "/accounts/{account}/workers/scripts/{script}/versions"


@ROUTES.add("GET", _VERSIONS)
def list_versions(call: CloudflareCall) -> CloudflareAnswer:
    """Return the versions, newest first. `deployable=true` returns all that can be deployed, without pages.

    developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/versions/methods/list
    """
    if call.request.query.get("deployable") == "true":
        return CloudflareAnswer(
            {"items": [version_summary(version) for version in list_deployable(call.account, call.worker)]}
        )
    page = parse_number(call, "page", default=1, most=10_000)
    per_page = parse_number(call, "per_page", default=10, most=100)
    newest_first = list(call.worker.versions.values())[::-1]
    items = newest_first[(page - 1) * per_page : page * per_page]
    info = {"page": page, "per_page": per_page, "count": len(items), "total_count": len(newest_first)}
    return CloudflareAnswer({"items": [version_summary(version) for version in items]}, result_info=info)


@ROUTES.add("GET", _VERSIONS + "/{version}")
def get_version(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/versions/methods/get
    version = find_version(call.worker, call.parameters["version"])
    if call.worker.is_hidden(version.id):
        raise _not_found()
    return CloudflareAnswer(version_to_json(version, call.worker, call.account.switches))


def find_version(worker: FakeWorker, version_id: str) -> FakeWorkerVersion:
    if version_id not in worker.versions:
        raise _not_found()
    return worker.versions[version_id]


def _not_found() -> CloudflareRefusal:
    message = "The requested Worker version could not be found, please check the ID being passed and try again."
    return CloudflareRefusal(100146, message, status=404)


def parse_number(call: CloudflareCall, name: str, *, default: int, most: int) -> int:
    text = call.request.query.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise invalid(f"query.{name}", f"must be from 1 to {most}")
    return int(text)


def version_summary(version: FakeWorkerVersion) -> dict[str, Any]:
    created_on = timestamp(version.created_on)
    return {
        "id": version.id,
        "number": version.number,
        "metadata": {
            "created_on": created_on,
            "modified_on": created_on,
            "source": version.source,
            "author_email": version.author_email,
            "hasPreview": False,
        },
        "annotations": version.annotations,
    }


def version_to_json(version: FakeWorkerVersion, worker: FakeWorker, switches: Switches) -> dict[str, Any]:
    """Return the version with full bindings, variables in clear text, and secrets by name only."""
    upload = version.upload
    secrets = [{"name": name, "type": "secret_text"} for name in upload.secrets]
    runtime: dict[str, Any] = {
        "compatibility_date": upload.compatibility_date,
        "compatibility_flags": upload.compatibility_flags,
        "usage_model": upload.usage_model,
        "limits": upload.limits,
        "exports": upload.exports,
    }
    if switches.migration_tag_before_deploy or worker.was_deployed(version.id):
        runtime["migration_tag"] = upload.migration_tag
    script = {
        "etag": upload.etag,
        "handlers": upload.handlers,
        "named_handlers": list_handlers(upload) or None,
        "last_deployed_from": version.source,
        "placement_mode": (upload.placement or {}).get("mode"),
    }
    is_bound = upload.has_assets and switches.assets_binding_shown and not upload.find_binding("assets")
    assets = [{"type": "assets", "name": "ASSETS"}] if is_bound else []
    resources = {
        "bindings": [*(_binding_to_json(binding, worker) for binding in upload.bindings), *assets, *secrets],
        "script": _without_none(script),
        "script_runtime": _without_none(runtime),
    }
    return {**version_summary(version), "resources": resources}


def list_handlers(upload: WorkerUpload) -> list[dict[str, Any]]:
    return [{"name": name, "handlers": ["class"]} for name in upload.durable_objects]


def _binding_to_json(binding: Mapping[str, Any], worker: FakeWorker) -> Mapping[str, Any]:
    """Return the binding as uploaded, with the fields that Cloudflare adds."""
    match binding["type"]:
        case "d1" if "id" in binding:
            return {"database_id": binding["id"], **binding}
        case "durable_object_namespace" if "class_name" in binding:
            script = binding.get("script_name") or worker.name
            return {"namespace_id": object_namespace_id(script, binding["class_name"]), **binding}
        case _:
            return binding


def object_namespace_id(script: str, class_name: str) -> str:
    """Return the namespace ID of a Durable Object class of a Worker."""
    return sha256(f"{script} {class_name}".encode()).hexdigest()[:32]


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
