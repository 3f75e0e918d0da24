"""Worker secrets and code through the client: reads, malformed answers and two writes."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.response import CloudflareApiError, MalformedCloudflareResponse
from ops.cloudflare.secrets import build_upload_metadata
from ops.cloudflare.types.workers import WorkerCode, WorkerModule
from ops.cloudflare.workers import WorkersApi
from ops.core.errors import LatestNotDeployed, NotApplied, OpsError, Refused, UnclearWrite
from ops.core.redaction import Secret
from ops.workers.reupload import find_code_differences
from sandbox import Sandbox
from tests.conftest import ACCOUNT, WORKER
from tests.support.commands import UNCLEAR_RESPONSES

BULK = {"method": "PATCH", "path": "/accounts/*/workers/scripts/*/secrets-bulk"}
UPLOAD = {"method": "POST", "path": "/accounts/*/workers/scripts/*/versions"}
CODE = {"path": "/accounts/*/workers/workers/*/versions/*"}
VALUE = "k4n4ry-0123456789"
MARK = DeploymentMark(incident=42, run="77.1-abcd", blames=None, text="rotate KEY")


@pytest.fixture
def workers(client: CloudflareClient, sandbox: Sandbox) -> WorkersApi:
    """Deploy a Worker with two secrets."""
    vars_ = {"MODE": "prod"}
    sandbox.deploy(WORKER, sandbox.upload(WORKER, code="good", vars=vars_, secrets={"KEY": "leaked", "OTHER": "kept"}))
    return WorkersApi(client, ACCOUNT)


def live(sandbox: Sandbox) -> str:
    (version,) = sandbox.live(WORKER)
    return version


def values(sandbox: Sandbox) -> Mapping[str, str]:
    """Return the secrets of the live version."""
    return sandbox.deployments(WORKER)[0].secrets[live(sandbox)]


# Reads


def test_list_secret_names(workers: WorkersApi) -> None:
    assert workers.secrets.list_names(WORKER) == {"KEY", "OTHER"}


def test_read_code_with_all_fields_of_an_upload(workers: WorkersApi, sandbox: Sandbox) -> None:
    code = workers.secrets.read_code(WORKER, live(sandbox))
    assert code
    assert code.modules == (WorkerModule("index.js", "application/javascript+module", b"good"),)
    assert code.main_module == "index.js"
    assert code.secret_names == {"KEY", "OTHER"}
    assert code.settings == {"compatibility_date": "2026-09-01", "usage_model": "standard"}
    assert {"type": "plain_text", "name": "MODE", "text": "prod"} in code.bindings
    assert code.upload_obstacles == ()
    assert workers.secrets.read_code(WORKER, "00000000-0000-4000-8000-000000000000") is None


MISSHAPEN: list[Any] = [
    None,
    [],
    {},
    {"modules": None},
    {"id": "x", "modules": [{"name": "a"}]},
    {"id": "x", "modules": [{"name": "a", "content_type": "b", "content_base64": "!"}]},
    {"id": "x", "modules": [{"name": 1, "content_type": "b", "content_base64": ""}]},
    {"id": "x", "modules": [], "bindings": [{"name": "a"}]},
    {"id": "another", "modules": []},
]


@pytest.mark.parametrize("result", MISSHAPEN)
def test_invalid_code_is_malformed(workers: WorkersApi, sandbox: Sandbox, result: Any) -> None:
    body = json.dumps({"success": True, "result": result})
    sandbox.fault(**CODE, body=body, content_type="application/json", times=None)
    with pytest.raises(MalformedCloudflareResponse):
        workers.secrets.read_code(WORKER, live(sandbox))


# Writes


@pytest.mark.slow
def test_edited_secrets_are_live_at_once(workers: WorkersApi, client: CloudflareClient, sandbox: Sandbox) -> None:
    with client.writing():
        workers.secrets.edit(WORKER, {"KEY": Secret(VALUE), "NEW": Secret("1"), "OTHER": None})
    assert values(sandbox) == {"KEY": VALUE, "NEW": "1"}
    assert len(sandbox.deployments(WORKER)) == 2


def test_edit_is_refused_if_latest_version_is_not_deployed(
    workers: WorkersApi, client: CloudflareClient, sandbox: Sandbox
) -> None:
    sandbox.upload(WORKER)
    with client.writing(), pytest.raises(LatestNotDeployed) as caught:
        workers.secrets.edit(WORKER, {"KEY": Secret(VALUE)})
    assert (caught.value.exit_code, caught.value.reason) == (3, "latest_not_deployed")
    assert values(sandbox)["KEY"] == "leaked"


@pytest.mark.slow
def test_live_version_is_uploaded_again_with_a_new_secret(
    workers: WorkersApi, client: CloudflareClient, sandbox: Sandbox
) -> None:
    """After a rollback the good code is live, and the latest upload is the bad one."""
    good = live(sandbox)
    sandbox.upload(WORKER, code="bad", vars={"MODE": "bad"})
    code = workers.secrets.read_code(WORKER, good)
    assert code
    with client.writing():
        made = workers.secrets.upload_version(WORKER, code, {"KEY": Secret(VALUE)}, mark=MARK)
    again, former, now = (
        workers.secrets.read_code(WORKER, made),
        workers.read_version(WORKER, good),
        workers.read_version(WORKER, made),
    )
    assert again
    assert former
    assert now
    assert list(find_code_differences(code, again)) == []
    assert now.code_and_settings == former.code_and_settings
    assert now.secret_names == former.secret_names
    assert now.message == str(MARK)
    assert live(sandbox) == good
    sandbox.deploy(WORKER, made)
    assert values(sandbox) == {"KEY": VALUE, "OTHER": "kept"}


def test_modules_are_uploaded_unchanged(workers: WorkersApi, client: CloudflareClient, sandbox: Sandbox) -> None:
    code = WorkerCode(
        version=live(sandbox),
        main_module="index.js",
        modules=(
            WorkerModule("index.js", "application/javascript+module", b"export default {}"),
            WorkerModule("lib/x.wasm", "application/wasm", bytes(range(256)) + b"\r\n--\r\n"),
        ),
        settings={
            "cache_options": {"enabled": True},
            "compatibility_flags": ["nodejs_compat"],
            "limits": {"cpu_ms": 50},
            "placement": {"mode": "smart"},
            "usage_model": "bundled",
        },
    )
    with client.writing():
        made = workers.secrets.upload_version(WORKER, code, {}, mark=MARK)
    again = workers.secrets.read_code(WORKER, made)
    assert again
    assert list(find_code_differences(code, again)) == []
    assert again.settings == code.settings


@pytest.mark.slow
def test_secret_missing_in_latest_version_is_not_inherited(
    workers: WorkersApi, client: CloudflareClient, sandbox: Sandbox
) -> None:
    code = workers.secrets.read_code(WORKER, live(sandbox))
    assert code
    sandbox.upload(WORKER, secrets={"KEY": "1"})
    with client.writing(), pytest.raises(CloudflareApiError) as caught:
        workers.secrets.upload_version(WORKER, code, {"KEY": Secret(VALUE)}, mark=MARK)
    assert caught.value.code == 10057
    assert "OTHER" in caught.value.message


CALLS = {
    "edit": (BULK, lambda w, c: w.secrets.edit(WORKER, {"KEY": Secret(VALUE)})),
    "upload": (UPLOAD, lambda w, c: w.secrets.upload_version(WORKER, c, {"KEY": Secret(VALUE)}, mark=MARK)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "call"), CALLS.values(), ids=CALLS)
def test_writes_are_refused_while_planning(workers: WorkersApi, sandbox: Sandbox, rule: Any, call: Any) -> None:
    code = workers.secrets.read_code(WORKER, live(sandbox))
    with pytest.raises(Refused):
        call(workers, code)
    assert [request for request in sandbox.requests if request.method != "GET"] == []


SAYS_SUCCESS = {"no result", "a result of another shape"}
"""Enough for an edit, whose answer is not used."""
UNCLEAR = [
    pytest.param(*CALLS[name], fault, id=f"{name}, {what}")
    for name in CALLS
    for what, fault in UNCLEAR_RESPONSES.items()
    if name != "edit" or what not in SAYS_SUCCESS
]


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "call", "fault"), UNCLEAR)
def test_write_without_answer_is_unclear_and_sent_once(
    workers: WorkersApi, client: CloudflareClient, sandbox: Sandbox, rule: Any, call: Any, fault: dict[str, Any]
) -> None:
    code = workers.secrets.read_code(WORKER, live(sandbox))
    sandbox.fault(**rule, **{**fault, "times": None})
    with client.writing(), pytest.raises(UnclearWrite):
        call(workers, code)
    assert len([request for request in sandbox.requests if request.method != "GET"]) == 1


@pytest.mark.sampled
@pytest.mark.parametrize(("rule", "call"), CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("fault", [{"status": 429}, {"code": 10035}])
def test_rejected_write_is_not_applied(
    workers: WorkersApi, client: CloudflareClient, sandbox: Sandbox, rule: Any, call: Any, fault: dict[str, Any]
) -> None:
    code = workers.secrets.read_code(WORKER, live(sandbox))
    sandbox.fault(**rule, **fault)
    with client.writing(), pytest.raises(NotApplied):
        call(workers, code)


@pytest.mark.parametrize("body", ['{"success": true, "result": null}', '{"success": true, "result": {"id": "x"}}'])
def test_upload_without_version_id_is_unclear(
    workers: WorkersApi, client: CloudflareClient, sandbox: Sandbox, body: str
) -> None:
    code = workers.secrets.read_code(WORKER, live(sandbox))
    assert code
    sandbox.fault(**UPLOAD, body=body, content_type="application/json", applied=True)
    with client.writing(), pytest.raises(UnclearWrite):
        workers.secrets.upload_version(WORKER, code, {}, mark=MARK)


@pytest.mark.sampled
@pytest.mark.parametrize(("rule", "call"), CALLS.values(), ids=CALLS)
def test_error_and_repr_hide_secret_values(
    workers: WorkersApi, client: CloudflareClient, sandbox: Sandbox, rule: Any, call: Any
) -> None:
    code = workers.secrets.read_code(WORKER, live(sandbox))
    sandbox.fault(**rule, code=10021)
    with client.writing(), pytest.raises(OpsError) as caught:
        call(workers, code)
    shown = [caught.value.message, caught.value.hint, repr(caught.value), repr(Secret(VALUE)), repr(code)]
    assert not any(VALUE in text or "prod" in text for text in shown)


@pytest.mark.parametrize("count", [0, 101])
def test_edit_requires_1_to_100_secrets(workers: WorkersApi, client: CloudflareClient, count: int) -> None:
    with client.writing(), pytest.raises(ValueError, match="from 1 to 100"):
        workers.secrets.edit(WORKER, dict.fromkeys(map(str, range(count)), Secret("1")))


# Upload obstacles


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"main_module": ""}, "it is in the service-worker format"),
        ({"main_module": "other.js"}, "its main module other.js cannot be read"),
        (
            {"bindings": ({"type": "assets", "name": "ASSETS"},)},
            "its static assets (binding ASSETS) cannot be downloaded",
        ),
        (
            {"bindings": ({"type": "wasm_module", "name": "W"},)},
            "its binding W has an unsupported type (wasm_module)",
        ),
        ({"unsupported_parts": ("containers",)}, "its containers cannot be uploaded with a version"),
    ],
)
def test_upload_obstacles_are_named(changes: dict[str, Any], said: str) -> None:
    parts: dict[str, Any] = {
        "version": "x",
        "main_module": "index.js",
        "modules": (WorkerModule("index.js", "a", b""),),
    }
    assert WorkerCode(**{**parts, **changes}).upload_obstacles == (said,)


def test_upload_keeps_bindings_and_inherits_secrets() -> None:
    kv = {"type": "kv_namespace", "name": "KV", "namespace_id": "1"}
    secrets = tuple({"type": kind, "name": name} for kind, name in (("secret_text", "A"), ("secret_key", "B")))
    code = WorkerCode(version="x", main_module="index.js", modules=(), bindings=(kv, *secrets))
    assert build_upload_metadata(code, {"A": Secret("new")}, message="m") == {
        "main_module": "index.js",
        "bindings": [
            kv,
            {"type": "secret_text", "name": "A", "text": "new"},
            {"type": "inherit", "name": "B", "version_id": "latest"},
        ],
        "annotations": {"workers/message": "m"},
    }
