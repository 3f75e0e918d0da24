"""What a drill breaks: a good release and then a bad one, of a Worker or of a Pages site."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.model.errors import ConfigError
from ops.tools import process

if TYPE_CHECKING:
    from ops.model.config import Service
    from ops.sandbox import Sandbox

QUIET = {"CI": "true", "NO_COLOR": "1", "WRANGLER_SEND_METRICS": "false"}
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "fortunet" / "backend"


@dataclass(frozen=True)
class Kind:
    """A kind of service, by its name in ops.yml."""

    name: str
    release: "Callable[[Sandbox, Service, str, str], None]"
    """Deploy the release of that name, on that edge."""
    live: "Callable[[Sandbox, Service], Any]"
    """What serves; equal where the same serves."""
    changed_at: "Callable[[Sandbox, Service], datetime | None]"
    """When Cloudflare last changed what serves, where it says so."""


def _deploy_worker(sandbox: "Sandbox", service: "Service", name: str, edge: str) -> None:
    if edge == "workerd":
        _deploy_with_wrangler(sandbox, service, name)
        return
    behaviour = None if name == "good" else {"status": 500}
    version = sandbox.upload(service.worker, code=name, behaviour=behaviour, tag=name, message=f"the {name} release")
    sandbox.deploy(service.worker, version)


def _deploy_with_wrangler(sandbox: "Sandbox", service: "Service", name: str) -> None:
    """The real wrangler deploys the example: what it uploads is what the runtime then runs."""
    from ops.sandbox import npm

    entry = "src/index.js" if name == "good" else "src/index.bad.js"
    named = ["--name", service.worker, "--tag", name, "--message", f"the {name} release"]
    with tempfile.TemporaryDirectory() as home:  # wrangler keeps logs and logins at home, and builds where it stands
        folder = shutil.copytree(EXAMPLE, Path(home, "backend"))
        environ = {**process.clean_environment(os.environ), **sandbox.environ(), **QUIET, "HOME": home}
        argv = [*npm.wrangler(), "deploy", entry, *named]
        done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ConfigError(f"wrangler could not deploy the {name} release: {' '.join(last)} (exit {done.returncode})")


def _deploy_site(sandbox: "Sandbox", service: "Service", name: str, _edge: str) -> None:
    """The bad one is the good one built into the wrong folder: each page is missing, and a page says so."""
    if service.pages not in sandbox.pages.projects:
        sandbox.pages.add_project(service.pages, domains=[urlsplit(service.url).netloc])
    pages = {urlsplit(path).path for path in (*service.compare, *(p.http.path for p in service.probes if p.http))}
    files = {_file(path): f"<!doctype html><h1>{path}, {name}</h1>".encode() for path in pages}
    if name == "bad":
        files = {f"dist/{path}": content for path, content in files.items()} | {"404.html": b"<h1>not found</h1>"}
    commit = sha256(name.encode()).hexdigest()[:40]
    sandbox.pages.add_deployment(service.pages, files=files, commit=commit, message=f"the {name} release")


def _file(path: str) -> str:
    """The file that is served there."""
    return f"{path}index.html".removeprefix("/") if path.endswith("/") else path.removeprefix("/")


WORKER = Kind(
    "worker",
    _deploy_worker,
    live=lambda sandbox, service: sandbox.live(service.worker),
    changed_at=lambda sandbox, service: sandbox.deployments(service.worker)[0].made_at,
)
SITE = Kind(
    "pages",
    _deploy_site,
    live=lambda sandbox, service: sandbox.pages.live(service.pages),
    changed_at=lambda _sandbox, _service: None,  # a rollback leaves no time behind
)
