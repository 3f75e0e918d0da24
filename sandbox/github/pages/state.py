"""GitHub Pages of a repository: its deployments, and the site behind GitHub's cache.

docs.github.com/pages/getting-started-with-github-pages/using-custom-workflows-with-github-pages
"""

import hashlib
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sandbox.server import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from sandbox.switches import GitHubSwitches

IN_PROGRESS, SUCCEEDED, CANCELLED = "deployment_in_progress", "succeed", "deployment_cancelled"
"""States of a deployment: github.com/actions/deploy-pages/blob/main/src/internal/deployment.js."""
Files = Mapping[str, bytes]


@dataclass(eq=False, kw_only=True)
class FakePagesDeployment:
    """A deployment of the site. Its files are live when its state is reported as succeeded for the first time."""

    id: str
    version: str
    files: Files
    status: str = IN_PROGRESS
    reads: int = 0


@dataclass(frozen=True)
class _Stored:
    response: HttpResponse
    at: datetime


@dataclass(kw_only=True)
class GitHubPages:
    """Pages of one repository. Without `domain`, the site is below OWNER.github.io/NAME."""

    is_enabled: bool = False
    domain: str = ""
    deployments: dict[str, FakePagesDeployment] = field(default_factory=dict)
    """ID → deployment, oldest first."""
    files: Files = field(default_factory=dict)
    """Path → content of the live site."""
    changed_at: datetime | None = None
    id_tokens: set[str] = field(default_factory=set)
    """OIDC tokens of jobs with `id-token: write`."""
    find_artifact: Callable[[int], Path | None] = field(default=lambda _id: None)
    """Return the folder with the files of an artifact, which the runner keeps."""
    _stored: dict[str, _Stored] = field(default_factory=dict)

    @property
    def unfinished(self) -> FakePagesDeployment | None:
        return next((each for each in self.deployments.values() if each.status == IN_PROGRESS), None)

    def report(self, deployment: FakePagesDeployment, now: datetime, reads: int) -> str:
        """Return the state of the deployment, which ends after that number of reads."""
        if deployment.status == IN_PROGRESS and deployment.reads >= reads:
            deployment.status = SUCCEEDED
            self.files, self.changed_at = deployment.files, now
        deployment.reads += 1
        return deployment.status

    def answer(self, path: str, request: HttpRequest, now: datetime, switches: "GitHubSwitches") -> HttpResponse:
        """Return the response of the site; a stored one is served until its time has passed."""
        key = path if switches.pages_cache_ignores_query else f"{path}?{request.target.partition('?')[2]}"
        stored = self._stored.get(key)
        age = (now - stored.at).total_seconds() if stored else 0.0
        if stored is None or age >= switches.pages_cache_seconds:
            stored, age = _Stored(self._read(path, now, switches.pages_cache_seconds), now), 0.0
            self._stored[key] = stored
            return _labeled(stored.response, "MISS", age)
        return _labeled(stored.response, "HIT", age)

    def _read(self, path: str, now: datetime, seconds: float) -> HttpResponse:
        name = path.strip("/")
        names = (f"{name}/index.html".lstrip("/"),) if path.endswith("/") else (name, f"{name}.html")
        found = next((each for each in names if each in self.files), "")
        shown = found or "404.html"
        content = self.files.get(shown, b"<title>Site not found</title>")
        kind = mimetypes.guess_type(PurePosixPath(shown).name)[0] or "application/octet-stream"
        headers = [
            ("server", "GitHub.com"),
            ("content-type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind),
            ("cache-control", f"max-age={seconds:.0f}"),
            ("etag", f'"{hashlib.sha256(content).hexdigest()[:16]}"'),
            ("last-modified", format_datetime(self.changed_at or now, usegmt=True)),
            ("access-control-allow-origin", "*"),
        ]
        return HttpResponse(status=200 if found else 404, headers=headers, body=content)


def _labeled(response: HttpResponse, word: str, age: float) -> HttpResponse:
    headers = [*response.headers, ("x-cache", word), ("age", f"{int(age)}")]
    return HttpResponse(status=response.status, headers=headers, body=response.body)


def read_artifact(folder: Path) -> Files:
    """Return path → content of the files in the folder."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()}
