"""Static assets of a Worker: served before its code runs, unless `run_worker_first` says otherwise.

developers.cloudflare.com/workers/static-assets/routing
"""

from urllib.parse import quote, unquote, urlsplit

from sandbox.cloudflare.pages.state import Asset
from sandbox.cloudflare.workers.state import Upload
from sandbox.edge.site import find
from sandbox.server import Request, Response


def answer(upload: Upload, request: Request) -> Response | None:
    """The file that the path means, or what stands for none; None where the Worker's code answers."""
    if not upload.assets or upload.assets_config.get("run_worker_first") is True:
        return None
    match find(upload.assets, unquote(request.path)) if request.method in {"GET", "HEAD"} else None:
        case Asset() as asset:
            return _served(asset, 200)
        case str() as elsewhere:
            query = urlsplit(request.target).query
            return Response(status=307, headers=[("location", f"{quote(elsewhere)}{query and '?'}{query}")])
    return None if upload.main_module else _missing(upload)


def _missing(upload: Upload) -> Response:
    """`not_found_handling`; without it, an empty 404."""
    page, status = {"single-page-application": ("/index.html", 200), "404-page": ("/404.html", 404)}.get(
        upload.assets_config.get("not_found_handling", ""), ("", 404)
    )
    asset = upload.assets.get(page)
    return Response(status=404) if asset is None else _served(asset, status)


def _served(asset: Asset, status: int) -> Response:
    headers = [("content-type", asset.content_type), ("etag", f'"{asset.key}"')]
    return Response(status=status, headers=headers, body=asset.content)
