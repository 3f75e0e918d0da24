"""Rules for uploading a version again."""

from dataclasses import replace

import pytest

from ops.cloudflare.types.workers import Split, WorkerCode, WorkerDeployment, WorkerVersion
from ops.workers.reupload import list_obstacles, majority_version, missing_secrets, secrets_to_accept
from tests.cloudflare.test_marks import BEGINNING

A, B = "a", "b"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "version"),
    [
        (((A, 100.0),), A),
        (((A, 90.0), (B, 10.0)), A),
        (((B, 90.0), (A, 10.0)), B),
        (((A, 50.1), (B, 49.9)), A),
        (((A, 50.0), (B, 50.0)), None),
    ],
)
def test_majority_version_of_a_split_is_uploaded_again(split: Split, version: str | None) -> None:
    assert majority_version(split) == version


KV = {"type": "kv_namespace", "name": "KV", "namespace_id": "1"}
SECRETS = tuple({"type": kind, "name": name} for kind, name in (("secret_text", "X"), ("secret_key", "Y")))
CODE = WorkerCode(A, "index.js", (), (KV, *SECRETS))


def test_edited_secret_needs_no_acceptance() -> None:
    latest = WorkerVersion(B, bindings={("secret_key", "Y"): "{}", ("plain_text", "X"): "{}"})
    live = WorkerDeployment("d", BEGINNING, ((A, 100.0),))

    assert missing_secrets(CODE, {"X"}, latest) == ()
    assert missing_secrets(CODE, set(), latest) == ("X",)
    assert secrets_to_accept(CODE, {"X"}, live, latest) == ("Y",)
    assert secrets_to_accept(CODE, {"X"}, WorkerDeployment("d", BEGINNING, ((B, 100.0),)), latest) == ()


def test_new_value_for_an_absent_secret_is_an_obstacle() -> None:
    assert "it has no secret Z" in list_obstacles(CODE, WorkerVersion(A), {"X", "Z"}, assets="")


@pytest.mark.parametrize(
    ("of_code", "of_version"), [((), "{}"), (("exports",), "{}"), (("exports",), None), ((), None)]
)
def test_declared_exports_are_one_obstacle(of_code: tuple[str, ...], of_version: str | None) -> None:
    """One API may name them, or both."""
    code = replace(CODE, unsupported_parts=of_code)
    version = WorkerVersion(A, runtime={} if of_version is None else {"exports": of_version})

    found = [each for each in list_obstacles(code, version, (), assets="") if "exports" in each]

    is_declared = bool(of_code) or of_version is not None
    assert found == ["its exports cannot be uploaded with a version"] * is_declared
