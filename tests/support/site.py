"""A static site on loopback that answers as Cloudflare Pages does.

Without a 404.html, a site is a single-page application: unknown paths return the front page with 200.
developers.cloudflare.com/pages/configuration/serving-pages
"""

import mimetypes
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops.probes.http import ProbeClient
from sandbox.server import HttpRequest, HttpResponse, Server

HOST = "fortunet.example"
URL = f"https://{HOST}"
TYPES = {
    ".js": "application/javascript",
    ".css": "text/css; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}

Answer = HttpResponse | None | Callable[[HttpRequest], HttpResponse | None]


class Site:
    """Site with `files` by path: text, bytes or a response. Counts requests, and concurrent ones."""

    def __init__(self, files: Mapping[str, str | bytes | Answer], *, delay: float = 0.0) -> None:
        self.files = dict(files)
        self.asked: Counter[str] = Counter()
        self.hosts: set[str] = set()
        self.most_at_once = 0
        self._delay = delay
        self._at_once = 0
        self._lock = threading.Lock()

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        with self._lock:
            self.asked[request.target] += 1
            self.hosts.add(request.headers["host"])
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            threading.Event().wait(self._delay)
            return self._answer(request)
        finally:
            with self._lock:
                self._at_once -= 1

    def _answer(self, request: HttpRequest) -> HttpResponse | None:
        for path in (request.target, request.path, f"{request.path}.html", f"{request.path}/index.html"):
            if path in self.files:
                found = self.files[path]
                return found(request) if callable(found) else file(path, found)
        if "/404.html" in self.files:
            return file("/404.html", self.files["/404.html"], status=404)
        return file("/index.html", self.files.get("/", self.files.get("/index.html", "")))


def file(path: str, content: Any, status: int = 200) -> HttpResponse | None:
    if isinstance(content, HttpResponse) or content is None:
        return content
    suffix = Path(path).suffix
    kind = TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "text/html; charset=utf-8"
    body = content if isinstance(content, bytes) else content.encode()
    return HttpResponse(status=status, headers=[("content-type", kind)], body=body)


def folder(path: Path) -> dict[str, str | bytes | Answer]:
    """Return the files of a built site; `/index.html` is `/`."""
    files = (each for each in sorted(path.rglob("*")) if each.is_file())
    return {"/" + each.relative_to(path).as_posix().removesuffix("index.html"): each.read_bytes() for each in files}


def redirect(to: str) -> HttpResponse:
    return HttpResponse(status=302, headers=[("location", to)])


@contextmanager
def served(site: Site) -> Iterator[ProbeClient]:
    server = Server(site.answer)
    server.start()
    web = ProbeClient(server.url)
    try:
        yield web
    finally:
        web.close()
        server.stop()
