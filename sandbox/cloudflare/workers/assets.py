"""Upload static assets of a Worker: manifest, missing files in buckets, completion token.

developers.cloudflare.com/workers/static-assets/direct-upload
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
)
from sandbox.cloudflare.pages.state import Asset
from sandbox.cloudflare.tokens.state import FakeCloudflareToken, sign_claims, signed_claims
from sandbox.cloudflare.workers.uploads import form_parts
from sandbox.permissions import CallPermission
from sandbox.server import HttpRequest

ROUTES = Routes()
UPLOADS = CallPermission(needs="an assets upload session")
"""Permission of the upload route, which accepts only the token of a session."""
BUCKET_FILES = 2
"""Files in one bucket. It is small so that every client sends several."""


@ROUTES.add("POST", "/accounts/{account}/workers/scripts/{script}/assets-upload-session")
def start_session(call: CloudflareCall) -> CloudflareAnswer:
    """Start an upload session. The Worker may not exist yet; if no file is missing, the token completes the upload."""
    manifest = fields(json_body(call.request), required={"manifest": dict}, optional={})["manifest"]
    for path, entry in manifest.items():
        at = f"body.manifest.{path}"
        fields(entry, required={"hash": str, "size": int}, optional={}, at=at)
        if not path.startswith("/") or not re.fullmatch("[0-9a-f]{32}", entry["hash"]):
            raise invalid(at, "must be a path and a hash of 32 hexadecimal digits")
    wanted = {path: entry["hash"] for path, entry in manifest.items()}
    missing = [key for key in dict.fromkeys(wanted.values()) if key not in call.account.assets]
    buckets = [missing[first : first + BUCKET_FILES] for first in range(0, len(missing), BUCKET_FILES)]
    claims = {"session": wanted, "script": call.parameters["script"], "complete": not missing}
    return CloudflareAnswer({"jwt": sign_claims(call.account.clock, claims), "buckets": buckets})


def authorize(account: FakeAccount, request: HttpRequest) -> FakeCloudflareToken:
    jwt = (request.headers.get("authorization") or "").removeprefix("Bearer ")
    claims = signed_claims(account.clock, jwt)
    if claims is None or "session" not in claims:
        raise CloudflareRefusal(10000, "Authentication error", status=account.switches.auth_error_status)
    return FakeCloudflareToken(secret=jwt, permissions=frozenset({UPLOADS.needs}))


@ROUTES.add("POST", "/accounts/{account}/workers/assets/upload", UPLOADS)
def upload(call: CloudflareCall) -> CloudflareAnswer:
    """Store the files of a form, one part per file, named by its hash.

    The answer to the last bucket has the completion token.
    """
    if call.request.query.get("base64") != "true":
        raise invalid("query.base64", 'must be "true"')
    claims = signed_claims(call.account.clock, call.token.secret)
    assert claims is not None
    for key, part in form_parts(call.request).items():
        if key not in claims["session"].values():
            raise invalid(f"body.{key}", "is not in the manifest")
        try:
            content = base64.b64decode(part.content, validate=True)
        except binascii.Error:
            raise invalid(f"body.{key}", "is not base64") from None
        call.account.assets[key] = Asset(content=content, content_type=part.content_type)
    left = set(claims["session"].values()) - call.account.assets.keys()
    done = {} if left else {"jwt": sign_claims(call.account.clock, {**claims, "complete": True})}
    return CloudflareAnswer(done)


def completed_files(account: FakeAccount, script: str, jwt: Any) -> dict[str, Asset]:
    """Return path → file of the upload that the completion token ends. Raises CloudflareRefusal."""
    claims = signed_claims(account.clock, jwt) if isinstance(jwt, str) else None
    if claims is None or not claims.get("complete") or claims.get("script") != script:
        raise invalid("metadata.assets.jwt", "is not a completion token of this Worker's assets")
    return {path: account.assets[key] for path, key in claims["session"].items()}
