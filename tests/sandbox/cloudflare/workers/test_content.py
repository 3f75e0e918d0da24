"""Code of Worker versions and scripts in the API."""

import base64
import json
from io import BytesIO

import multipart  # type: ignore[import-untyped]
import pytest

from tests.sandbox.conftest import WORKER, Api, Releases

MODULES = {
    "index.js": (b"import x from './data.bin'; export default { fetch() {} }", "application/javascript+module"),
    "lib/data.bin": (bytes(range(256)), "application/octet-stream"),
}


def _upload(api: Api) -> str:
    metadata = {"main_module": "index.js", "bindings": [{"type": "secret_text", "name": "KEY", "text": "value"}]}
    parts = {name: (name, content, kind) for name, (content, kind) in MODULES.items()}
    files = {"metadata": (None, json.dumps(metadata)), **parts}
    return str(api.script("POST", "versions", files=files).result["id"])


def test_version_code_is_readable(api: Api, releases: Releases) -> None:
    version = _upload(api)
    api.sandbox.upload(WORKER)
    answer = api.get(f"workers/{WORKER}/versions/{version}?include=modules")
    modules = {m["name"]: (base64.b64decode(m["content_base64"]), m["content_type"]) for m in answer.result["modules"]}
    assert modules == MODULES
    assert answer.result["main_module"] == "index.js"
    assert answer.result["bindings"] == [{"name": "KEY", "type": "secret_text"}]
    assert "value" not in answer.response.text


def test_version_code_is_omitted_by_default(api: Api, releases: Releases) -> None:
    assert "modules" not in api.get(f"workers/{WORKER}/versions/{releases.good}").result
    assert api.get(f"workers/{WORKER}/versions/{releases.good}?include=all").error == (400, 10026)
    assert api.get(f"workers/{WORKER}/versions/none?include=modules").error == (404, 100146)


@pytest.mark.parametrize("of_deployed", [False, True])
def test_script_content_is_multipart(api: Api, releases: Releases, of_deployed: bool) -> None:
    api.sandbox.switches.content_of_deployed = of_deployed
    _upload(api)
    response = api.script("GET", "content/v2").response
    options = multipart.parse_options_header(response.headers["content-type"])[1]
    parts = multipart.MultipartParser(BytesIO(response.content), options["boundary"], strict=True).parts()
    found = {part.name: (part.raw, part.content_type) for part in parts}
    assert response.headers["cf-entrypoint"] == "index.js"
    assert found == ({"index.js": (b"bad", "application/javascript+module")} if of_deployed else MODULES)
    for part in parts:
        part.close()
