"""Decoding of Cloudflare's answers: results, API errors and malformed answers."""

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.cloudflare.client import DECLARED_READS, PATH_PARTS
from ops.cloudflare.response import (
    COMMON,
    PRODUCTS,
    CloudflareApiError,
    ErrorKind,
    MalformedCloudflareResponse,
    decode_response,
    parse_retry_after,
)
from ops.core.errors import Reason
from tests.support.properties import holds_for
from tests.support.sdk import import_all_reads

ACCOUNT = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
PATH = f"/accounts/{ACCOUNT}/workers/scripts/fortunet-api/deployments"
CALL = "GET /workers/scripts/fortunet-api/deployments"


def decode(body: Any, *, status: int = 200, path: str = PATH, **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"cf-ray": "8f1-LHR", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return decode_response("GET", path, status, sent, raw)


def rejection(code: int | None = None, message: str = "no", **fields: Any) -> dict[str, Any]:
    return {"success": False, "errors": [{"code": code, "message": message, **fields}], "result": None}


def test_success_has_result_and_paging() -> None:
    answer = decode({"success": True, "result": {"id": "1"}, "result_info": {"cursor": "c"}})

    assert (answer.result, answer.result_info, answer.status, answer.ray_id) == (
        {"id": "1"},
        {"cursor": "c"},
        200,
        "8f1-LHR",
    )


@pytest.mark.parametrize("status", [204, 205])
def test_empty_body_with_204_is_a_success(status: int) -> None:
    assert decode(b"", status=status).result is None


MALFORMED: dict[str, tuple[bytes, int, dict[str, str], str]] = {
    "empty": (b"", 200, {}, "an empty body"),
    "HTML": (b"<html>", 502, {"content_type": "text/html"}, "an HTML page"),
    "HTML by its look": (b" \n<!doctype html>", 200, {}, "an HTML page"),
    "text by its type": (b"error code: 1015", 429, {"content_type": "text/html"}, "an HTML page"),
    "text": (b"bad gateway", 502, {}, "11 bytes of invalid or truncated JSON"),
    "cut off": (b'{"success": true, "res', 200, {}, "22 bytes of invalid or truncated JSON"),
    "no UTF-8": (b'{"a": "\xff"}', 200, {}, "invalid or truncated JSON"),
    "too deep": (b"[" * 100_000, 200, {}, "invalid or truncated JSON"),
    "a list": (b"[]", 200, {}, "JSON that is not an object"),
    "null": (b"null", 500, {}, "JSON that is not an object"),
    "no envelope": (b'{"status": "ok"}', 200, {}, "JSON without Cloudflare's envelope"),
    "a success that is a text": (b'{"success": "true"}', 200, {}, "JSON without Cloudflare's envelope"),
    "a success that is a number": (b'{"success": 1}', 200, {}, "JSON without Cloudflare's envelope"),
    "a challenge": (b"{}", 403, {"cf_mitigated": "challenge"}, "firewall answered with a challenge"),
}


@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize(("body", "status", "headers", "what"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_answer_names_status_and_ray_id(body: bytes, status: int, headers: dict[str, str], what: str) -> None:
    with pytest.raises(MalformedCloudflareResponse) as caught:
        decode(body, status=status, **headers)

    assert what in caught.value.message
    assert f" {CALL} " in caught.value.message
    assert caught.value.message.endswith(f"(HTTP {status}, cf-ray 8f1-LHR)")
    assert caught.value.reason == Reason.MALFORMED_ANSWER
    assert "cloudflarestatus.com" in caught.value.hint


REFUSED: dict[str, tuple[Any, int, ErrorKind, Reason, str]] = {
    "10000": (
        rejection(10000, "auth"),
        403,
        ErrorKind.AUTH,
        Reason.NOT_AUTHORISED,
        "HTTP 403, code 10000: auth (cf-ray",
    ),
    "401 alone": (rejection(None), 401, ErrorKind.AUTH, Reason.NOT_AUTHORISED, "HTTP 401, no (cf-ray"),
    "10007": (rejection(10007), 404, ErrorKind.NOT_FOUND, Reason.PROVIDER_REFUSED, "code 10007: no"),
    "404 alone": (rejection(99), 404, ErrorKind.NOT_FOUND, Reason.PROVIDER_REFUSED, "code 99: no"),
    "10035": (rejection(10035), 409, ErrorKind.NOT_APPLIED, Reason.PROVIDER_REFUSED, "code 10035: no"),
    "429": (rejection(10000), 429, ErrorKind.NOT_APPLIED, Reason.RATE_LIMITED, "HTTP 429"),
    "10013": (rejection(10013), 400, ErrorKind.TRANSIENT, Reason.PROVIDER_UNAVAILABLE, "code 10013"),
    "10007 with 503": (rejection(10007), 503, ErrorKind.TRANSIENT, Reason.PROVIDER_UNAVAILABLE, "HTTP 503, code 10007"),
    "500": (rejection(), 500, ErrorKind.TRANSIENT, Reason.PROVIDER_UNAVAILABLE, "HTTP 500"),
    "an unknown code": (rejection(123456), 400, ErrorKind.REFUSED, Reason.PROVIDER_REFUSED, "code 123456: no"),
    "no with 200": (rejection(10021), 200, ErrorKind.REFUSED, Reason.PROVIDER_REFUSED, "HTTP 200, code 10021"),
    "yes with 500": ({"success": True, "result": 1}, 500, ErrorKind.TRANSIENT, Reason.PROVIDER_UNAVAILABLE, "HTTP 500"),
    "the old form": (
        {"error": "no", "code": 10007},
        404,
        ErrorKind.NOT_FOUND,
        Reason.PROVIDER_REFUSED,
        "code 10007: no",
    ),
    "no errors": ({"success": False}, 400, ErrorKind.REFUSED, Reason.PROVIDER_REFUSED, "no reason given"),
    "errors of texts": (
        {"success": False, "errors": ["x"]},
        400,
        ErrorKind.REFUSED,
        Reason.PROVIDER_REFUSED,
        "no reason",
    ),
    "a code that is a text": (rejection("10007"), 400, ErrorKind.REFUSED, Reason.PROVIDER_REFUSED, "HTTP 400, no"),  # type: ignore[arg-type]
    "a chain": (
        rejection(1, error_chain=[{"message": "why"}, 7, {"message": "deeper"}]),
        400,
        ErrorKind.REFUSED,
        Reason.PROVIDER_REFUSED,
        "code 1: no: why: deeper",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("body", "status", "kind", "reason", "said"), REFUSED.values(), ids=REFUSED)
def test_rejection_is_one_typed_error(body: Any, status: int, kind: ErrorKind, reason: Reason, said: str) -> None:
    with pytest.raises(CloudflareApiError) as caught:
        decode(body, status=status)

    assert (caught.value.kind, caught.value.reason) == (kind, reason)
    assert said in caught.value.message
    assert re.match(rf"Cloudflare .*{re.escape(CALL)} .*HTTP {status}\b", caught.value.message)
    assert caught.value.ray_id == "8f1-LHR"


PATHS = {
    "Workers Observability": f"/accounts/{ACCOUNT}/workers/observability/telemetry/query",
    "Workers": PATH,
    "Pages": f"/accounts/{ACCOUNT}/pages/projects/shop",
    "KV": f"/accounts/{ACCOUNT}/storage/kv/namespaces/{ACCOUNT}/bulk/get",
    "D1": f"/accounts/{ACCOUNT}/d1/database/shop/query",
    "Routes": f"/zones/{ACCOUNT}/workers/routes",
    "API tokens": "/user/tokens/verify",
    "the audit log": f"/accounts/{ACCOUNT}/logs/audit",
    "GraphQL": "/graphql",
}
"""Product → one of its paths."""


@pytest.mark.slow
@pytest.mark.parametrize("product", PATHS)
def test_known_code_is_explained_per_product(product: str) -> None:
    (codes,) = (codes for name, _, codes in PRODUCTS if name == product)
    for code, known in {**COMMON, **codes}.items():
        with pytest.raises(CloudflareApiError) as caught:
            decode(rejection(code, "rejected: SQLITE_ERROR"), status=400, path=PATHS[product])

        assert caught.value.kind == known.kind
        assert f"{known.meaning}. " in caught.value.hint, "it says what to do as well"
        assert known.source in {"errors", "auth", "pages", "d1", "wrangler", "workers-sdk"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("product", "code", "kind", "meaning"),
    [
        ("KV", 10013, ErrorKind.NOT_FOUND, "there is no such KV namespace"),
        ("KV", 10014, ErrorKind.REFUSED, "there is a KV namespace of that title already"),
        ("KV", 10021, ErrorKind.REFUSED, ""),
        ("Workers", 10013, ErrorKind.TRANSIENT, "an unknown error of Workers"),
        ("Workers", 10006, ErrorKind.REFUSED, "the Worker's code could not be parsed"),
        ("Workers", 10054, ErrorKind.REFUSED, "a variable or secret exceeds the size limit"),
        ("Workers", 10056, ErrorKind.NOT_FOUND, "there is no such binding or secret"),
        ("Pages", 10013, ErrorKind.REFUSED, ""),
        ("D1", 10007, ErrorKind.REFUSED, ""),
    ],
)
def test_code_meaning_depends_on_the_product(product: str, code: int, kind: ErrorKind, meaning: str) -> None:
    with pytest.raises(CloudflareApiError) as caught:
        decode(rejection(code), status=400, path=PATHS[product])

    assert caught.value.kind == kind
    assert ("This means: " in caught.value.hint) is bool(meaning)
    assert meaning in caught.value.hint


def test_every_declared_read_belongs_to_a_product() -> None:
    import_all_reads()

    for _, template in DECLARED_READS:
        path = re.sub(r"\{(\w+)\}", lambda part: "0" * (32 if "{32}" in PATH_PARTS[part[1]] else 36), template)
        assert any(re.fullmatch(pattern, path) for _, pattern, _ in PRODUCTS), template
    assert len(DECLARED_READS) > 15


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("7", "", 7.0),
        (" 1.5 ", "", 1.5),
        ("Tue, 24 Nov 2026 10:00:30 GMT", "Tue, 24 Nov 2026 10:00:00 GMT", 30.0),
        ("Tue, 24 Nov 2026 10:00:00 GMT", "Tue, 24 Nov 2026 10:00:30 GMT", 0.0),
        ("Tue, 24 Nov 2026 10:00:00 GMT", "", 0.0),
        ("soon", "", 0.0),
        ("-3", "", 0.0),
        ("nan", "", 0.0),
        ("", "", 0.0),
    ],
)
def test_retry_after_is_seconds_or_an_http_date(value: str, date: str, seconds: float) -> None:
    assert parse_retry_after({"retry-after": value, "date": date}) == seconds


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["success", "errors", "result", "code", "x"]), inner)
    ),
    max_leaves=10,
)
headers = st.dictionaries(st.sampled_from(["retry-after", "date", "content-type", "cf-mitigated"]), st.text())


bodies = st.binary() | json_values.map(lambda value: json.dumps(value).encode())


@pytest.mark.slow
@holds_for(30, 1000, body=bodies, status=st.integers(100, 599), sent=headers)
def test_any_answer_is_a_value_or_a_known_error(body: bytes, status: int, sent: dict[str, str]) -> None:
    answer = None
    with contextlib.suppress(CloudflareApiError, MalformedCloudflareResponse):
        answer = decode_response("POST", PATH, status, sent, body)

    if answer is not None:
        assert status in {204, 205} or json.loads(body)["success"] is True
        assert isinstance(answer.result_info, dict)
