"""Error codes of the sandbox: raised by handlers and understood by the tool."""

import re
from pathlib import Path

import pytest

from ops.cloudflare.response import find_error_code
from sandbox.cloudflare.codes import ANYWHERE, BY_PRODUCT, product_of
from tests.conftest import ACCOUNT, ROOT

PATHS = {
    "workers": f"/accounts/{ACCOUNT}/workers/scripts/shop/versions",
    "pages": f"/accounts/{ACCOUNT}/pages/projects/shop",
    "kv": f"/accounts/{ACCOUNT}/storage/kv/namespaces",
    "d1": f"/accounts/{ACCOUNT}/d1/database",
    "r2": f"/accounts/{ACCOUNT}/r2/buckets/kept/objects/rows.sql",
    "zones": f"/zones/{ACCOUNT}/workers/routes",
    "tokens": f"/accounts/{ACCOUNT}/tokens/verify",
}
HANDLERS = sorted((ROOT / "sandbox/cloudflare").rglob("*.py"))


@pytest.mark.parametrize("path", HANDLERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_raised_codes_are_in_product_table(path: Path) -> None:
    """A folder is a product; other modules serve all products."""
    text, folder = path.read_text(), path.parent.name
    shared = {code for codes in BY_PRODUCT.values() for code in codes}
    known = {*ANYWHERE, *(shared if folder == "cloudflare" else BY_PRODUCT.get(folder, BY_PRODUCT["workers"]))}

    raised = {int(code) for code in re.findall(r"ApiError\(\s*(\d+)", text)}

    assert raised <= known


@pytest.mark.parametrize("product", BY_PRODUCT)
def test_tool_knows_sourced_codes(product: str) -> None:
    """Codes with a source are in the tool's table of the same product, unless the tool never makes that request."""
    sourced = {code for code, source in BY_PRODUCT[product].items() if source != "unknown"}
    unread = {7502, 10007, 10022, 10041, 10079, 10085, 11000}

    assert product_of(PATHS[product]) == product
    assert {code for code in sourced if find_error_code(PATHS[product], code) is None} <= unread
