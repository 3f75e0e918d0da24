"""Direct Upload as in `wrangler pages deploy`: token, files by hash, deployment.

developers.cloudflare.com/pages/get-started/direct-upload
"""

import base64
import binascii
import re
from typing import Any

from sandbox.cloudflare.account import FakeAccount
from sandbox.cloudflare.call import (
    CloudflareAnswer,
    CloudflareCall,
    CloudflareRefusal,
    Routes,
    fields,
    invalid,
    json_body,
    parse,
)
from sandbox.cloudflare.pages.api import queued_deployment
from sandbox.cloudflare.pages.state import Asset
from sandbox.cloudflare.tokens.state import FakeCloudflareToken, sign_claims, signed_claims
from sandbox.cloudflare.workers.uploads import form_parts
from sandbox.permissions import CallPermission
from sandbox.server import HttpRequest

ROUTES = Routes()
_PROJECT = "/accounts/{account}/pages/projects/{project}"
UPLOADS = CallPermission(needs="an upload token")
"""Permission of the routes below /pages/assets, which accept only a token from `upload-token`."""

MAX_FILES = 20_000
MAX_BUCKET_FILES = 2_000
MAX_FILE_BYTES = 25 * 1024 * 1024
MESSAGE_BYTES = 384

_TEXTS = ("branch", "commit_message", "commit_hash", "commit_dirty", "wrangler_config_hash", "pages_build_output_dir")
_ROUTING = "functions-filepath-routing-config.json"
_RULES = ("_headers", "_redirects", "_routes.json", "_worker.bundle", "_worker.js", _ROUTING)


@ROUTES.add("GET", _PROJECT + "/upload-token")
def get_upload_token(call: CloudflareCall) -> CloudflareAnswer:
    claims = {"max_file_count_allowed": MAX_FILES, "account": call.account.id, "id": call.project.id}
    return CloudflareAnswer({"jwt": sign_claims(call.account.clock, claims)})


def authorize(account: FakeAccount, request: HttpRequest) -> FakeCloudflareToken:
    """Return the holder of an unexpired upload token. Raises CloudflareRefusal."""
    jwt = (request.headers.get("authorization") or "").removeprefix("Bearer ")
    claims = signed_claims(account.clock, jwt)
    if claims is None or "max_file_count_allowed" not in claims:
        raise CloudflareRefusal(8000013, "Authorization failed", status=401)
    return FakeCloudflareToken(secret=jwt, permissions=frozenset({UPLOADS.needs}))


@ROUTES.add("POST", "/pages/assets/check-missing", UPLOADS)
def check_missing(call: CloudflareCall) -> CloudflareAnswer:
    return CloudflareAnswer([key for key in _hashes(call) if key not in call.account.pages.assets])


@ROUTES.add("POST", "/pages/assets/upload", UPLOADS)
def upload_assets(call: CloudflareCall) -> CloudflareAnswer:
    """Store all files of a bucket, or none."""
    bucket = json_body(call.request)
    if not isinstance(bucket, list) or len(bucket) > MAX_BUCKET_FILES:
        raise invalid("body", f"must be a list of at most {MAX_BUCKET_FILES} files")
    call.account.pages.assets |= dict(_uploaded(item, f"body[{index}]") for index, item in enumerate(bucket))
    return CloudflareAnswer({"successful_key_count": len(bucket), "unsuccessful_keys": []})


@ROUTES.add("POST", "/pages/assets/upsert-hashes", UPLOADS)
def upsert_hashes(call: CloudflareCall) -> CloudflareAnswer:
    """Keep the files from expiring. In the sandbox they never expire."""
    _hashes(call)
    return CloudflareAnswer(None)


@ROUTES.add("POST", _PROJECT + "/deployments")
def create_deployment(call: CloudflareCall) -> CloudflareAnswer:
    """Create a deployment. It is for production if its branch is the production branch or missing."""
    project, account = call.project, call.account
    parts = {name: part.content for name, part in form_parts(call.request).items()}
    if unknown := parts.keys() - {"manifest", *_TEXTS, *_RULES}:
        raise invalid("body", f"has unknown parts: {', '.join(sorted(unknown))}")
    texts = {name: parts[name].decode(errors="replace") for name in _TEXTS if name in parts}
    if texts.get("commit_dirty", "false") not in {"true", "false"}:
        raise invalid("body.commit_dirty", "must be true or false")
    deployment_id = account.pages.add_deployment(
        project.name,
        files=_files(account, parts.get("manifest")),
        commit=texts.get("commit_hash", ""),
        message=_truncate(texts.get("commit_message", "")),
        branch=texts.get("branch") or None,
        dirty=texts.get("commit_dirty") == "true",
        rules={name: parts[name] for name in _RULES if name in parts},
    )
    return CloudflareAnswer(queued_deployment(call, deployment_id))


def _files(account: FakeAccount, manifest: bytes | None) -> dict[str, Asset]:
    """Return path → file. Every file of the manifest must have been uploaded."""
    if manifest is None:
        raise invalid("body", 'lacks the part "manifest"')
    listed = parse(manifest)
    if not isinstance(listed, dict) or len(listed) > MAX_FILES:
        raise invalid("body.manifest", f"must be an object with at most {MAX_FILES} files")
    for path, key in listed.items():
        if not path.startswith("/") or key not in account.pages.assets:
            raise invalid("body.manifest", f"names {path}, which was not uploaded")
    return {path: account.pages.assets[key] for path, key in listed.items()}


def _uploaded(item: Any, at: str) -> tuple[str, Asset]:
    known = {"key": str, "value": str, "metadata": dict, "base64": bool}
    fields(item, required=known, optional={}, at=at)
    fields(item["metadata"], required={"contentType": str}, optional={}, at=f"{at}.metadata")
    try:
        content = base64.b64decode(item["value"], validate=True)
    except binascii.Error as error:
        raise invalid(f"{at}.value", "is not base64") from error
    if not _is_hash(item["key"]) or not item["base64"] or len(content) > MAX_FILE_BYTES:
        raise invalid(at, f"must have a hash as its key, and at most {MAX_FILE_BYTES} bytes in base64")
    return item["key"], Asset(content=content, content_type=item["metadata"]["contentType"])


def _hashes(call: CloudflareCall) -> list[str]:
    body = fields(json_body(call.request), required={"hashes": list}, optional={})
    if not all(map(_is_hash, body["hashes"])):
        raise invalid("body.hashes", "must hold hashes of 32 hex digits")
    hashes: list[str] = body["hashes"]
    return hashes


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value) is not None


def _truncate(text: str) -> str:
    return text.encode()[:MESSAGE_BYTES].decode(errors="ignore")
