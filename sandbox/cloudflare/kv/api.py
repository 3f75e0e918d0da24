"""KV API: namespaces and their entries.

Its error codes are not documented; these come from user reports [unsure: error-codes].
developers.cloudflare.com/api/resources/kv/subresources/namespaces
"""

import base64
import binascii
import json
from typing import Any

from sandbox.cloudflare.call import (
    JSON,
    CloudflareAnswer,
    CloudflareCall,
    CloudflareRefusal,
    Routes,
    fields,
    invalid,
    json_body,
    parse,
)
from sandbox.cloudflare.kv.state import KvEntry, KvNamespace
from sandbox.cloudflare.workers.uploads import form_parts
from sandbox.server import HttpResponse

ROUTES = Routes()
_NAMESPACES = "/accounts/{account}/storage/kv/namespaces"
_NAMESPACE = _NAMESPACES + "/{namespace}"
_VALUE = _NAMESPACE + "/values/{key}"
BULK_GET = _NAMESPACE + "/bulk/get"
_MAX_KEY_BYTES, _MAX_VALUE_BYTES, _MAX_METADATA_BYTES = 512, 25 * 2**20, 1024
"""In bytes (developers.cloudflare.com/kv/platform/limits)."""
_MIN_TTL_SECONDS = 60
"""Minimum lifetime of a value, in seconds."""
_MAX_BULK, _MAX_BULK_READ = 10_000, 100


@ROUTES.add("GET", _NAMESPACES)
def list_namespaces(call: CloudflareCall) -> CloudflareAnswer:
    page, per_page = _number(call, "page", 1, 1, 10_000), _number(call, "per_page", 20, 1, 1000)
    found = list(call.account.kv.namespaces.values())
    shown = [_namespace_to_json(each) for each in found[(page - 1) * per_page : page * per_page]]
    info = {"page": page, "per_page": per_page, "count": len(shown), "total_count": len(found)}
    return CloudflareAnswer(shown, result_info=info)


@ROUTES.add("POST", _NAMESPACES)
def create_namespace(call: CloudflareCall) -> CloudflareAnswer:
    title = fields(json_body(call.request), required={"title": str}, optional={})["title"]
    if not 1 <= len(title.encode()) <= 512:
        raise invalid("body.title", "must be of 1 to 512 bytes")
    kv = call.account.kv
    if any(each.title == title for each in kv.namespaces.values()):
        raise CloudflareRefusal(10014, "create namespace: 'a namespace with this account ID and title already exists'")
    return CloudflareAnswer(_namespace_to_json(kv.namespaces[kv.add(title)]))


@ROUTES.add("GET", _NAMESPACE)
def get_namespace(call: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer(_namespace_to_json(_find_namespace(call)))


@ROUTES.add("DELETE", _NAMESPACE)
def delete_namespace(call: CloudflareCall) -> CloudflareAnswer:
    """Delete a namespace with all its keys. A version that binds it can no longer be deployed."""
    namespace = _find_namespace(call)
    del call.account.kv.namespaces[namespace.id]
    call.account.deleted_resources.add(namespace.id)
    return CloudflareAnswer(None)


@ROUTES.add("GET", _NAMESPACE + "/keys")
def list_keys(call: CloudflareCall) -> CloudflareAnswer:
    """Return the keys in byte order, page by page; the cursor of the last page is empty."""
    limit, prefix = _number(call, "limit", 1000, 10, 1000), call.request.query.get("prefix", "")
    after = _decode_cursor(call.request.query.get("cursor", ""))
    entries = call.account.kv.api_entries(_find_namespace(call).id)
    left = [(key, entry) for key, entry in entries.items() if key.startswith(prefix) and key.encode() > after]
    page = left[:limit]
    cursor = base64.urlsafe_b64encode(page[-1][0].encode()).decode() if len(left) > limit else ""
    shown = [{"name": key, **_metadata(entry)} for key, entry in page]
    return CloudflareAnswer(shown, result_info={"count": len(page), "cursor": cursor})


@ROUTES.add("GET", _VALUE)
def get_value(call: CloudflareCall) -> HttpResponse:
    """Return the bytes of the value, without an envelope."""
    entry = _entry(call)
    expiration = [] if entry.expires is None else [("expiration", str(entry.expires))]
    return HttpResponse(headers=[("content-type", "application/octet-stream"), *expiration], body=entry.value)


@ROUTES.add("GET", _NAMESPACE + "/metadata/{key}")
def get_metadata(call: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer(_entry(call).metadata)


@ROUTES.add("PUT", _VALUE)
def put_value(call: CloudflareCall) -> CloudflareAnswer:
    """Write a value: the whole body, or the part `value` of a form, which may also have JSON `metadata`.

    `result` is null or an object, as the reference says; clients saw null:
    developers.cloudflare.com/api/resources/kv/subresources/namespaces/subresources/values/methods/update
    """
    namespace, key, query = _find_namespace(call), call.parameters["key"], call.request.query
    value, metadata = call.request.body, None
    if call.request.headers.get_content_type() == "multipart/form-data":
        parts = form_parts(call.request)
        if "value" not in parts or not parts.keys() <= {"value", "metadata"}:
            raise invalid("body", 'must have a part "value", and optionally "metadata"')
        value = parts["value"].content
        metadata = parse(parts["metadata"].content) if "metadata" in parts else None
    ends = {"expiration", "expiration_ttl"}
    given = {name: _parse_integer(f"query.{name}", text) for name, text in query.items() if name in ends}
    _check(key, value, metadata)
    expires = _expiration(call, given, "query")
    if not call.account.kv.accepts_write(namespace.id, key):
        raise _rate_limited()
    call.account.kv.put(namespace.id, key, value, metadata=metadata, expires=expires, by_api=True)
    return CloudflareAnswer(None)


@ROUTES.add("DELETE", _VALUE)
def delete_value(call: CloudflareCall) -> CloudflareAnswer:
    """Delete a key; a missing key is not an error."""
    namespace, key = _find_namespace(call), call.parameters["key"]
    if not call.account.kv.accepts_write(namespace.id, key):
        raise _rate_limited()
    call.account.kv.delete(namespace.id, key, by_api=True)
    return CloudflareAnswer(None)


@ROUTES.add("PUT", _NAMESPACE + "/bulk")
def bulk_put(call: CloudflareCall) -> CloudflareAnswer:
    """Write all pairs after all are checked.

    The answer lists the keys written less than a second ago, for a retry.
    """
    namespace, kv = _find_namespace(call), call.account.kv
    known = {"base64": bool, "expiration": int, "expiration_ttl": int, "metadata": object}
    sent = [
        fields(each, required={"key": str, "value": str}, optional=known, at=f"body[{index}]")
        for index, each in enumerate(_list(call, _MAX_BULK))
    ]
    values = [_bytes(each) for each in sent]
    expires = [_expiration(call, each, "body") for each in sent]
    for each, value in zip(sent, values, strict=True):
        _check(each["key"], value, each.get("metadata"))
    refused = [each["key"] for each in sent if not kv.accepts_write(namespace.id, each["key"])]
    for each, value, until in zip(sent, values, expires, strict=True):
        if each["key"] not in refused:
            beside = {"metadata": each.get("metadata"), "expires": until}
            kv.put(namespace.id, each["key"], value, **beside, by_api=True)
    return CloudflareAnswer({"successful_key_count": len(sent) - len(refused), "unsuccessful_keys": refused})


@ROUTES.add("DELETE", _NAMESPACE + "/bulk")
@ROUTES.add("POST", _NAMESPACE + "/bulk/delete")
def bulk_delete(call: CloudflareCall) -> CloudflareAnswer:
    namespace, kv, keys = _find_namespace(call), call.account.kv, _keys(_list(call, _MAX_BULK), "body")
    refused = [key for key in keys if not kv.accepts_write(namespace.id, key)]
    for key in keys:
        if key not in refused:
            kv.delete(namespace.id, key, by_api=True)
    return CloudflareAnswer({"successful_key_count": len(keys) - len(refused), "unsuccessful_keys": refused})


@ROUTES.add("POST", BULK_GET)
def bulk_get(call: CloudflareCall) -> CloudflareAnswer:
    """Return the values as text or JSON; null for a missing key."""
    namespace = _find_namespace(call)
    body = fields(json_body(call.request), required={"keys": list}, optional={"type": str, "withMetadata": bool})
    keys, kind = _keys(body["keys"], "body.keys"), body.get("type", "text")
    if not 1 <= len(keys) <= _MAX_BULK_READ:
        raise invalid("body.keys", f"must be 1 to {_MAX_BULK_READ} keys")
    if kind not in {"text", "json"}:
        raise invalid("body.type", 'must be "text" or "json"')
    found = {key: call.account.kv.api_entry(namespace.id, key) for key in keys}
    return CloudflareAnswer({"values": {key: entry and _to_json(entry, kind, body) for key, entry in found.items()}})


def _to_json(entry: KvEntry, kind: str, body: dict[str, Any]) -> Any:
    value = parse(entry.value) if kind == "json" else entry.value.decode(errors="replace")
    return {"value": value, "metadata": None, **_metadata(entry)} if body.get("withMetadata") else value


def _metadata(entry: KvEntry) -> dict[str, Any]:
    """Return the expiration and metadata of an entry, if it has any."""
    beside = {"expiration": entry.expires, "metadata": entry.metadata}
    return {name: value for name, value in beside.items() if value is not None}


def _namespace_to_json(namespace: KvNamespace) -> dict[str, Any]:
    return {"id": namespace.id, "title": namespace.title, "supports_url_encoding": True}


def _find_namespace(call: CloudflareCall) -> KvNamespace:
    """Return the namespace named in the path. Raises CloudflareRefusal if it does not exist."""
    namespace = call.account.kv.namespaces.get(call.parameters["namespace"])
    if namespace is None:
        raise CloudflareRefusal(10013, "namespace not found", status=404)
    return namespace


def _entry(call: CloudflareCall) -> KvEntry:
    entry = call.account.kv.api_entry(_find_namespace(call).id, call.parameters["key"])
    if entry is None:
        raise CloudflareRefusal(10009, "get: 'key not found'", status=404)
    return entry


def _keys(values: list[Any], at: str) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise invalid(at, "must be a list of keys")
    return values


def _list(call: CloudflareCall, most: int) -> list[Any]:
    body = json_body(call.request, JSON)
    if not isinstance(body, list) or len(body) > most:
        raise invalid("body", f"must be a list of at most {most}")
    return body


def _bytes(pair: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(pair["value"], validate=True) if pair.get("base64") else pair["value"].encode()
    except binascii.Error:
        raise invalid("body", f"has a value for {pair['key']} that is not base64") from None


def _check(key: str, value: bytes, metadata: Any) -> None:
    if not 1 <= len(key.encode()) <= _MAX_KEY_BYTES:
        raise CloudflareRefusal(10022, f"key must be of 1 to {_MAX_KEY_BYTES} bytes", status=414)
    if len(value) > _MAX_VALUE_BYTES:
        raise CloudflareRefusal(10021, f"value length of {len(value)} exceeds limit of {_MAX_VALUE_BYTES}", status=413)
    if metadata is not None and len(json.dumps(metadata).encode()) > _MAX_METADATA_BYTES:
        raise CloudflareRefusal(10021, f"metadata exceeds limit of {_MAX_METADATA_BYTES} bytes", status=413)


def _expiration(call: CloudflareCall, given: dict[str, Any], at: str) -> int | None:
    """Return the expiration in seconds since 1970. `expiration` takes precedence over `expiration_ttl`."""
    now = int(call.account.clock.now().timestamp())
    until: int | None = given.get("expiration")
    if until is None and "expiration_ttl" in given:
        until = now + given["expiration_ttl"]
    if until is not None and until < now + _MIN_TTL_SECONDS:
        raise invalid(at, f"has an expiration that is not at least {_MIN_TTL_SECONDS} seconds away")
    return until


def _rate_limited() -> CloudflareRefusal:
    return CloudflareRefusal(10058, "Too many writes to this key: it takes one per second.", status=429)


def _number(call: CloudflareCall, name: str, default: int, least: int, most: int) -> int:
    number = _parse_integer(f"query.{name}", call.request.query.get(name, str(default)))
    if not least <= number <= most:
        raise invalid(f"query.{name}", f"must be from {least} to {most}")
    return number


def _parse_integer(at: str, text: str) -> int:
    if not text.isdecimal():
        raise invalid(at, "must be a whole number")
    return int(text)


def _decode_cursor(cursor: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(cursor)
    except binascii.Error:
        raise invalid("query.cursor", "is not a cursor of this API") from None
