"""Serve the files of a Pages deployment and the static assets of a Worker.

developers.cloudflare.com/pages/configuration/serving-pages, developers.cloudflare.com/workers/static-assets/routing.
For details missing on the first page, Pages follows the asset server inside wrangler. Functions do not run here; rules
in `_headers` and `_redirects` are stored without effect.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from urllib.parse import quote, unquote, urlsplit

from sandbox.cloudflare.pages.state import Asset, FakePagesDeployment
from sandbox.cloudflare.workers.state import WorkerUpload
from sandbox.server import HttpRequest, HttpResponse

KEPT_FOR = timedelta(days=7)
"""Time during which an address still returns a file that it served before and that the deployment lacks."""

_HEADERS = [("access-control-allow-origin", "*"), ("referrer-policy", "strict-origin-when-cross-origin")]


class SiteServer:
    """Serves all Pages sites. Like the edge, it remembers the last file served at each address."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Asset, datetime]] = {}
        """Host and path → last file served, and its time. Whether a query belongs to it is not documented
        [unsure: pages-kept-file]."""

    def forget_files(self) -> None:
        """Answer as a location that has served nothing yet."""
        self._kept.clear()

    def answer(self, deployment: FakePagesDeployment, host: str, request: HttpRequest, now: datetime) -> HttpResponse:
        if request.method not in {"GET", "HEAD"}:
            return HttpResponse(status=405, headers=[*_HEADERS])
        address, path = host + request.path, unquote(request.path)
        match find_asset(deployment.files, path):
            case Asset() as asset:
                self._kept[address] = (asset, now)
                return _file_response(asset, host, request)
            case str() as elsewhere:
                query = urlsplit(request.target).query
                location = f"/{quote(elsewhere.lstrip('/'), safe=_UNQUOTED)}{query and '?'}{query}"
                return HttpResponse(status=308, headers=[("location", location), *_HEADERS])
        kept, at = self._kept.get(address, (None, now))
        if kept is not None and now - at < KEPT_FOR:
            return _file_response(kept, host, request)
        if page := next(_not_found_pages(deployment.files, path), None):
            return _not_found(page)
        index = deployment.files.get("/index.html")
        return _file_response(index, host, request) if index else _not_found(None)


_UNQUOTED = "/!'()*~"


def find_asset(files: Mapping[str, Asset], path: str) -> Asset | str | None:
    """Return the file of a path, or a path to redirect to; None if there is neither."""
    if path.endswith("/"):
        if asset := files.get(f"{path}index.html"):
            return asset
        if path.endswith("/index/"):
            return path.removesuffix("index/")
        return path[:-1] if f"{path[:-1]}.html" in files else None
    if asset := files.get(path):
        return _shorter_path(files, path) or asset
    if path.endswith("/index"):
        return path.removesuffix("index")
    if asset := files.get(f"{path}.html"):
        return asset
    return f"{path}/" if f"{path}/index.html" in files else None


def _shorter_path(files: Mapping[str, Asset], path: str) -> str | None:
    """Return a shorter address for a path with `.html`; None if there is none."""
    stem = path.removesuffix(".html")
    if stem == path:
        return None
    if stem.endswith("/index"):
        return stem.removesuffix("index")
    return None if stem in files or stem == "/" else stem


def _not_found_pages(files: Mapping[str, Asset], path: str) -> Iterator[Asset]:
    """Yield the 404.html in the folder of the path, then in the folders above."""
    while path:
        path = path.rpartition("/")[0]
        if page := files.get(f"{path}/404.html"):
            yield page


def _file_response(asset: Asset, host: str, request: HttpRequest) -> HttpResponse:
    etag = f'"{asset.key}"'
    if request.headers.get("if-none-match") in {etag, f"W/{etag}"}:
        return HttpResponse(status=304, headers=[*_HEADERS])
    headers = [
        ("content-type", _content_type(asset)),
        ("etag", etag),
        ("cache-control", "public, max-age=0, must-revalidate"),
        ("x-content-type-options", "nosniff"),
        *_HEADERS,
    ]
    if host.endswith(".pages.dev") and host.count(".") > 2:
        headers.append(("x-robots-tag", "noindex"))
    return HttpResponse(status=200, headers=headers, body=asset.content)


def _not_found(page: Asset | None) -> HttpResponse:
    headers = [("content-type", _content_type(page)), ("x-content-type-options", "nosniff")] if page else []
    return HttpResponse(
        status=404, headers=[*headers, ("cache-control", "no-store"), *_HEADERS], body=page.content if page else b""
    )


def _content_type(asset: Asset) -> str:
    text = asset.content_type.startswith("text/") and ";" not in asset.content_type
    return f"{asset.content_type}; charset=utf-8" if text else asset.content_type


def answer_with_assets(upload: WorkerUpload, request: HttpRequest) -> HttpResponse | None:
    """Serve a file before the Worker's code runs. None: the code answers.

    `run_worker_first` lets the code run first.
    """
    if not upload.assets or upload.assets_config.get("run_worker_first") is True:
        return None
    match find_asset(upload.assets, unquote(request.path)) if request.method in {"GET", "HEAD"} else None:
        case Asset() as asset:
            return _asset_response(asset, 200)
        case str() as elsewhere:
            query = urlsplit(request.target).query
            return HttpResponse(status=307, headers=[("location", f"{quote(elsewhere)}{query and '?'}{query}")])
    return None if upload.main_module else _missing_asset_response(upload)


def _missing_asset_response(upload: WorkerUpload) -> HttpResponse:
    """Apply `not_found_handling`; the default is an empty 404."""
    page, status = {"single-page-application": ("/index.html", 200), "404-page": ("/404.html", 404)}.get(
        upload.assets_config.get("not_found_handling", ""), ("", 404)
    )
    asset = upload.assets.get(page)
    return HttpResponse(status=404) if asset is None else _asset_response(asset, status)


def _asset_response(asset: Asset, status: int) -> HttpResponse:
    headers = [("content-type", asset.content_type), ("etag", f'"{asset.key}"')]
    return HttpResponse(status=status, headers=headers, body=asset.content)
