"""Scripts: upload, download, list and delete; service and workers.dev settings."""

import base64
import re
import uuid
from collections.abc import Mapping
from typing import Any

from sandbox.clock import timestamp
from sandbox.cloudflare.call import (
    CloudflareAnswer,
    CloudflareCall,
    CloudflareRefusal,
    Routes,
    fields,
    invalid,
    json_body,
)
from sandbox.cloudflare.workers.assets import completed_files
from sandbox.cloudflare.workers.deployments import code_update_strategy
from sandbox.cloudflare.workers.settings import SCRIPT_SETTINGS
from sandbox.cloudflare.workers.state import FakeWorker, FakeWorkerVersion, Module, WorkerUpload
from sandbox.cloudflare.workers.uploads import UploadForm, check_variables
from sandbox.cloudflare.workers.versions import find_version, list_handlers, object_namespace_id, version_to_json
from sandbox.cloudflare.zones.state import ACCOUNT_SUBDOMAIN
from sandbox.server import HttpResponse

ROUTES = Routes()


@ROUTES.add("GET", "/accounts/{account}/workers/workers/{script}/versions/{version}")
def get_version(call: CloudflareCall) -> CloudflareAnswer:
    """Return any version. With `include=modules`, the only way to read the code of an earlier version.

    developers.cloudflare.com/api/resources/workers/subresources/beta/subresources/workers/subresources/versions
    """
    version = find_version(call.worker, call.parameters["version"])
    asked = call.request.query.get("include")
    if asked not in {None, "modules"}:
        raise invalid("query.include", 'must be "modules"')
    return CloudflareAnswer(_to_json(call, version) | ({"modules": _modules(version.upload)} if asked else {}))


def _to_json(call: CloudflareCall, version: FakeWorkerVersion) -> dict[str, Any]:
    """Return the version as a flat object; the older API has `resources` and `metadata`."""
    upload = version.upload
    resources = version_to_json(version, call.worker, call.account.switches)["resources"]
    return {
        "id": version.id,
        "number": version.number,
        "created_on": timestamp(version.created_on),
        "author_email": version.author_email,
        "source": version.source,
        "annotations": version.annotations,
        "urls": [],
        "main_module": upload.main_module,
        "bindings": resources["bindings"],
        "cache_options": upload.cache_options,
        "containers": upload.containers,
        "startup_time_ms": 1,
        **({"placement": upload.placement} if upload.placement else {}),
        **resources["script_runtime"],
    }


def _modules(upload: WorkerUpload) -> list[dict[str, str]]:
    return [
        {
            "name": module.name,
            "content_type": module.content_type,
            "content_base64": base64.b64encode(module.content).decode(),
        }
        for module in upload.modules
    ]


@ROUTES.add("GET", "/accounts/{account}/workers/scripts/{script}/content/v2")
def get_content(call: CloudflareCall) -> HttpResponse:
    """Return a form with one part per module; a header names the main module.

    developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/content/methods/get
    """
    worker = call.worker
    assert worker.latest is not None
    deployed = max(worker.live, key=worker.number, default=worker.latest.id)
    chosen = deployed if call.account.switches.content_of_deployed else worker.latest.id
    upload, boundary = worker.versions[chosen].upload, uuid.uuid4().hex
    body = b"".join(_form_part(module, boundary) for module in upload.modules) + f"--{boundary}--\r\n".encode()
    content_type = f"multipart/form-data; boundary={boundary}"
    return HttpResponse(headers=[("content-type", content_type), ("cf-entrypoint", upload.main_module)], body=body)


def _form_part(module: Module, boundary: str) -> bytes:
    name = module.name.replace("\\", "\\\\").replace('"', '\\"')
    head = f'content-disposition: form-data; name="{name}"; filename="{name}"\r\ncontent-type: {module.content_type}'
    return f"--{boundary}\r\n{head}\r\n\r\n".encode() + module.content + b"\r\n"


_SCRIPTS = "/accounts/{account}/workers/scripts"
_SCRIPT = _SCRIPTS + "/{script}"
_REFERENCES = ("dispatch_namespace_outbounds", "domains", "durable_objects", "queues", "workers")


@ROUTES.add("GET", _SCRIPTS)
def list_scripts(call: CloudflareCall) -> CloudflareAnswer:
    """Return all scripts of the account in one list, each with data of its latest upload.

    developers.cloudflare.com/api/resources/workers/subresources/scripts/methods/list
    """
    return CloudflareAnswer([_listed_script(call, each) for each in call.account.workers.values() if each.latest])


def _listed_script(call: CloudflareCall, worker: FakeWorker) -> Mapping[str, Any]:
    assert worker.latest is not None
    upload = worker.latest.upload
    script = {
        **_script_to_json(worker),
        "created_on": timestamp(next(iter(worker.versions.values())).created_on),
        "has_modules": True,
        "usage_model": upload.usage_model,
    }
    if not call.account.switches.has_assets_listed:
        return script
    routes = [vars(r) for z in call.account.zones.all.values() for r in z.routes.values() if r.script == worker.name]
    return {**script, "has_assets": upload.has_assets, "routes": routes}


@ROUTES.add("PUT", _SCRIPT)
def put_script(call: CloudflareCall) -> CloudflareAnswer:
    """Upload and deploy in one call; required for a new Worker or a Durable Object migration.

    developers.cloudflare.com/api/resources/workers/subresources/scripts/methods/update
    """
    name = call.parameters["script"]
    if not re.fullmatch("[a-z0-9_-]{1,63}", name):
        raise CloudflareRefusal(10016, f"Invalid script name: {name}.")
    form = UploadForm(call.request)
    strategy = code_update_strategy(form.metadata.get("code_update_strategy"), "metadata.code_update_strategy")
    worker = call.account.workers.get(name) or FakeWorker(name=name, tag=call.account.new_id().hex)
    tag = _migration_tag(worker, form.metadata.get("migrations"))
    files = completed_files(call.account, name, form.assets["jwt"]) if "jwt" in form.assets else {}
    upload = form.upload(worker, migration_tag=tag, assets=files)
    check_variables(upload, call.account.switches.variables_per_worker)
    worker.migration_tag = tag
    worker.script_settings |= {key: form.metadata[key] for key in SCRIPT_SETTINGS if key in form.metadata}
    call.account.workers[name] = worker
    by = call.by(form.annotations)
    version = call.account.add_version(worker, upload, by)
    call.account.deploy(worker, {version.id: 100}, by, triggered_by="upload", code_update_strategy=strategy)
    # A legacy field of Cloudflare's: despite its name it holds the version ID, without hyphens.
    return CloudflareAnswer(
        {**_script_to_json(worker), "deployment_id": version.id.replace("-", ""), "startup_time_ms": 1}
    )


@ROUTES.add("POST", _SCRIPT + "/versions")
def create_version(call: CloudflareCall) -> CloudflareAnswer:
    """Upload a version without deploying it.

    developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/versions/methods/create
    """
    worker, account = call.worker, call.account
    form = UploadForm(call.request)
    if "migrations" in form.metadata:
        raise CloudflareRefusal(
            10211, "A version cannot carry a Durable Object migration: deploy the script whole instead."
        )
    files = completed_files(account, worker.name, form.assets["jwt"]) if "jwt" in form.assets else {}
    upload = form.upload(worker, migration_tag=worker.migration_tag, assets=files)
    check_variables(upload, account.switches.variables_per_worker)
    version = account.add_version(worker, upload, call.by(form.annotations))
    worker.hidden_reads[version.id] = account.switches.version_visible_after_reads
    return CloudflareAnswer({**version_to_json(version, worker, account.switches), "startup_time_ms": 1})


def _migration_tag(worker: FakeWorker, migrations: Any) -> str | None:
    """Return the migration tag after `migrations`.

    developers.cloudflare.com/durable-objects/reference/durable-object-class-migrations-legacy
    """
    if migrations is None:
        return worker.migration_tag
    known = {"old_tag": str, "new_tag": str, "steps": list}
    fields(migrations, required={}, optional=known, at="metadata.migrations")
    if migrations.get("old_tag", worker.migration_tag) != worker.migration_tag:
        raise CloudflareRefusal(10079, f"Migration tag precondition failed; current tag is {worker.migration_tag}.")
    tag: str | None = migrations.get("new_tag", worker.migration_tag)
    return tag


@ROUTES.add("DELETE", _SCRIPT)
@ROUTES.add("DELETE", "/accounts/{account}/workers/services/{script}")
def delete_script(call: CloudflareCall) -> CloudflareAnswer:
    """Delete the Worker with its versions, deployments and secrets."""
    worker = call.worker
    del call.account.workers[worker.name]
    return CloudflareAnswer({"id": worker.name})


@ROUTES.add("GET", "/accounts/{account}/workers/durable_objects/namespaces")
def list_object_namespaces(call: CloudflareCall) -> CloudflareAnswer:
    """Return a namespace for each Durable Object class that the latest upload of a Worker exports."""
    found = [
        (worker, name)
        for worker in call.account.workers.values()
        if worker.latest
        for name in worker.latest.upload.durable_objects
    ]
    rows = [
        {
            "id": object_namespace_id(worker.name, name),
            "name": f"{worker.name}_{name}",
            "class": name,
            "script": worker.name,
            "use_sqlite": True,
        }
        for worker, name in found
    ]
    info = {"page": 1, "per_page": 1000, "count": len(rows), "total_count": len(rows)}
    return CloudflareAnswer(rows, result_info=info)


@ROUTES.add("GET", _SCRIPT + "/references")
def get_references(_: CloudflareCall) -> CloudflareAnswer:
    """Return no references: the sandbox has no bindings that `wrangler delete` warns about."""
    return CloudflareAnswer(
        {"services": {"incoming": [], "outgoing": []}, "durable_objects": [], "dispatch_outbounds": []}
    )


@ROUTES.add("GET", "/accounts/{account}/workers/tails/by-consumer/{script}")
def get_tail_producers(_: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer([])


@ROUTES.add("POST", _SCRIPT + "/tails")
def create_tail(_: CloudflareCall) -> CloudflareAnswer:
    message = "The sandbox has no live logs. Read what a Worker handled with telemetry queries instead."
    raise CloudflareRefusal(10026, message)


@ROUTES.add("GET", _SCRIPT + "/subdomain")
def get_script_subdomain(call: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer(call.worker.subdomain)


@ROUTES.add("POST", _SCRIPT + "/subdomain")
def post_script_subdomain(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/subdomain/methods/create
    worker = call.worker
    known = {"previews_enabled": bool}
    worker.subdomain |= fields(json_body(call.request), required={"enabled": bool}, optional=known)
    return CloudflareAnswer(worker.subdomain)


@ROUTES.add("DELETE", _SCRIPT + "/subdomain")
def delete_script_subdomain(call: CloudflareCall) -> CloudflareAnswer:
    call.worker.subdomain |= {"enabled": False, "previews_enabled": False}
    return CloudflareAnswer(call.worker.subdomain)


@ROUTES.add("GET", "/accounts/{account}/workers/subdomain")
def get_account_subdomain(_: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer({"subdomain": ACCOUNT_SUBDOMAIN})


@ROUTES.add("GET", "/accounts/{account}/workers/services/{script}")
def get_service(call: CloudflareCall) -> CloudflareAnswer:
    """Return the service. Undocumented [unsure: wrangler-routes].

    wrangler uses it to check that a Worker exists and who deployed it last.
    """
    worker = call.account.workers.get(call.parameters["script"])
    if worker is None:
        raise CloudflareRefusal(10090, "This service does not exist on your account.", status=404)
    environment = {"environment": "production", "script": _script_to_json(worker)}
    return CloudflareAnswer({"id": worker.name, "default_environment": environment})


@ROUTES.add("GET", "/accounts/{account}/workers/workers/{script}")
def get_worker(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/workers/subresources/beta/subresources/workers/methods/get
    worker = call.worker
    uploads, deployments = list(worker.versions.values()), worker.history
    return CloudflareAnswer(
        {
            "id": worker.tag,
            "name": worker.name,
            "created_on": timestamp(uploads[0].created_on),
            "updated_on": timestamp(uploads[-1].created_on),
            "deployed_on": timestamp(deployments[-1].created_on) if deployments else None,
            "subdomain": worker.subdomain,
            "references": dict.fromkeys(_REFERENCES, ()),
            "logpush": False,
            "observability": {"enabled": False},
            "tags": [],
            "tail_consumers": [],
            **worker.script_settings,
        }
    )


def _script_to_json(worker: FakeWorker) -> Mapping[str, Any]:
    latest = worker.latest
    assert latest is not None
    return {
        "id": worker.name,
        "tag": worker.tag,
        "tags": worker.script_settings.get("tags", []),
        "etag": latest.upload.etag,
        "handlers": latest.upload.handlers,
        "named_handlers": list_handlers(latest.upload),
        "modified_on": timestamp(latest.created_on),
        "migration_tag": worker.migration_tag,
        "compatibility_date": latest.upload.compatibility_date,
        "last_deployed_from": latest.source,
    }
