"""Which versions may be deployed, and what Cloudflare says of each that may not.

developers.cloudflare.com/workers/versions-and-deployments/rollbacks
"""

from collections.abc import Callable

from sandbox.cloudflare.account import Account
from sandbox.cloudflare.routes import ApiError
from sandbox.cloudflare.workers.state import Version, Worker

WINDOW = 100
"""So many of the most recently uploaded versions may be deployed."""

_RESOURCES: dict[str, tuple[str, Callable[[str], ApiError]]] = {
    "kv_namespace": ("namespace_id", lambda id: ApiError(10041, f"KV namespace '{id}' not found.")),  # noqa: A006
    "r2_bucket": ("bucket_name", lambda name: ApiError(10085, f"R2 bucket '{name}' not found.")),
    "queue": ("queue_name", lambda name: ApiError(11000, f'Queue "{name}" does not exist.')),
}


def deployable(account: Account, worker: Worker) -> list[Version]:
    """Newest first."""
    return [version for version in _recent(worker) if _barrier(account, worker, version) is None]


def obstacle(account: Account, worker: Worker, version: Version) -> ApiError | None:
    """Why `version` cannot be deployed, whatever the client insists on."""
    if all(version.id != recent.id for recent in _recent(worker)):
        return ApiError(10210, f"Version {version.id} is not one of the {WINDOW} most recent.")
    return _barrier(account, worker, version)


def _recent(worker: Worker) -> list[Version]:
    return list(worker.versions.values())[: -WINDOW - 1 : -1]


def _barrier(account: Account, worker: Worker, version: Version) -> ApiError | None:
    """The page names these refusals, but not their codes; those of resources are the codes of an upload."""
    if version.upload.migration_tag != worker.migration_tag:
        return ApiError(10210, f"A Durable Object migration lies between version {version.id} and the active one.")
    for binding in version.upload.bindings:
        field, error = _RESOURCES.get(binding["type"], ("", None))
        if error and binding.get(field) in account.deleted_resources:
            return error(binding[field])
    return None


def changed_secrets(worker: Worker, versions: list[Version]) -> ApiError | None:
    """What `?force=true` overrides. wrangler takes the names from the text after the last colon."""
    names = sorted({name for version in versions for name in worker.changed_secrets(version)})
    if not names:
        return None
    hint = "Add the query parameter ?force=true to deploy it all the same."
    listed = f"The following secrets have changed: {', '.join(names)}"
    return ApiError(10220, f"A secret has changed since this version was active. {hint} {listed}")
