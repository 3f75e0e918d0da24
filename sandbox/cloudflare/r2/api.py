"""R2 API: objects of a bucket, and its public domains.

developers.cloudflare.com/api/resources/r2/subresources/buckets

The codes are those of R2's S3 API: developers.cloudflare.com/r2/api/error-codes
"""

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
from sandbox.cloudflare.r2.state import R2Bucket, R2Object
from sandbox.server import HttpResponse

ROUTES = Routes()
_BUCKET = "/accounts/{account}/r2/buckets/{bucket}"
_OBJECTS = f"{_BUCKET}/objects"
_OBJECT = f"{_OBJECTS}/{{key}}"
_MAX_KEY_BYTES, _MAX_OBJECT_BYTES = 1024, 300 * 2**20
"""In bytes (developers.cloudflare.com/r2/platform/limits); wrangler uploads at most 300 MiB through this API."""


@ROUTES.add("GET", _OBJECTS)
def list_objects(call: CloudflareCall) -> CloudflareAnswer:
    prefix, per_page = call.request.query.get("prefix", ""), int(call.request.query.get("per_page", "1000"))
    found = [(key, each) for key, each in sorted(_bucket(call).objects.items()) if key.startswith(prefix)]
    info = {"cursor": "", "is_truncated": len(found) > per_page, "per_page": per_page}
    return CloudflareAnswer([_listed(key, each) for key, each in found[:per_page]], result_info=info)


@ROUTES.add("PUT", _OBJECT)
def put_object(call: CloudflareCall) -> CloudflareAnswer:
    """Write an object, which replaces an earlier one of its key."""
    bucket, key, content = _bucket(call), call.parameters["key"], call.request.body
    if len(key.encode()) > _MAX_KEY_BYTES or len(content) > _MAX_OBJECT_BYTES:
        raise invalid("body", "or its key is too long")
    written = bucket.objects[key] = R2Object(content=content, uploaded=call.account.clock.now())
    answer = {"key": key, "etag": written.etag, "size": str(len(content)), "storage_class": "Standard"}
    return CloudflareAnswer({**answer, "uploaded": timestamp(written.uploaded), "version": call.account.new_id().hex})


@ROUTES.add("GET", _OBJECT)
def get_object(call: CloudflareCall) -> HttpResponse:
    """Return the bytes of an object, without an envelope."""
    found = _bucket(call).objects.get(call.parameters["key"])
    if found is None:
        raise CloudflareRefusal(10007, "The specified key does not exist.", status=404)
    headers = [("content-type", "application/octet-stream"), ("etag", f'"{found.etag}"')]
    return HttpResponse(headers=headers, body=found.content)


@ROUTES.add("DELETE", _OBJECT)
def delete_object(call: CloudflareCall) -> CloudflareAnswer:
    _bucket(call).objects.pop(call.parameters["key"], None)
    return CloudflareAnswer({"key": call.parameters["key"]})


@ROUTES.add("GET", f"{_BUCKET}/domains/managed")
def get_managed_domain(call: CloudflareCall) -> CloudflareAnswer:
    """Return the r2.dev domain of a bucket, which it has also while it is off."""
    return CloudflareAnswer(_managed(_bucket(call)))


@ROUTES.add("PUT", f"{_BUCKET}/domains/managed")
def set_managed_domain(call: CloudflareCall) -> CloudflareAnswer:
    bucket = _bucket(call)
    bucket.is_public = fields(json_body(call.request), required={"enabled": bool}, optional={})["enabled"]
    return CloudflareAnswer(_managed(bucket))


@ROUTES.add("GET", f"{_BUCKET}/domains/custom")
def list_custom_domains(call: CloudflareCall) -> CloudflareAnswer:
    status = {"ownership": "active", "ssl": "active"}
    found = _bucket(call).domains.items()
    return CloudflareAnswer({"domains": [{"domain": it, "enabled": on, "status": status} for it, on in found]})


def _bucket(call: CloudflareCall) -> R2Bucket:
    """Return the bucket of the path. One of another jurisdiction than the header names is unknown."""
    if not call.account.r2.is_enabled:
        raise CloudflareRefusal(10042, "Please enable R2 through the Cloudflare Dashboard.", status=403)
    found = call.account.r2.all.get(call.parameters["bucket"])
    if found is None or found.jurisdiction != call.request.headers.get("cf-r2-jurisdiction", "default"):
        raise CloudflareRefusal(10006, "The specified bucket does not exist.", status=404)
    return found


def _listed(key: str, each: R2Object) -> dict[str, Any]:
    times = {"last_modified": timestamp(each.uploaded), "storage_class": "Standard"}
    return {"key": key, "etag": each.etag, "size": len(each.content), **times}


def _managed(bucket: R2Bucket) -> dict[str, Any]:
    name = f"pub-{bucket.name.encode().hex().ljust(32, '0')[:32]}"
    return {"bucketId": name.removeprefix("pub-"), "domain": f"{name}.r2.dev", "enabled": bucket.is_public}
