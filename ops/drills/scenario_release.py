"""Scenarios of a bad release after a good one, of a Worker or a Pages site."""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.app.configuration import read_config
from ops.core.errors import ConfigError, Decision
from ops.core.verdict import WantedContent
from ops.drills import release_answers
from ops.drills.command import DrillWorld, Params, Say
from ops.drills.support import Trigger
from ops.tools import node, own_program, process

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from ops.config.probes import Probe
    from sandbox import Sandbox

EXAMPLES = own_program.ROOT / "examples" / "fortunet"
EXAMPLE = EXAMPLES / "backend"
ANSWERS = "src/drill.js"
"""Entry of a release that answers the probes of another application."""
NO_FILES: Mapping[str, str] = {}
SOURCE = "source"
"""Folder of a site's repository, inside the folder of the drill."""


@dataclass(frozen=True)
class Scenario:
    """A failure to recover from: how to cause it, observe it and start the recovery.

    `service_kind` is that of the service in ops.yml.
    """

    service_kind: str
    release: "Callable[[Sandbox, Service, str, str, Path], Any]"
    """Deploy the release of that name.

    Arguments: sandbox, service, release, edge, folder of the drill. Returns the state that a later deployment makes
    `live`, if this one is not deployed yet. Raises ConfigError.
    """
    live: "Callable[[Sandbox, Service], Any]"
    """Return the live state. Equal values mean the same state."""
    changed_at: "Callable[[Sandbox, Service], datetime | None]"
    """Return when the live state last changed at Cloudflare, or None if Cloudflare does not say."""
    environ: Callable[[Path], Mapping[str, str]] = lambda _: {}
    """Return additional variables of the command, for the folder of the drill."""
    unsupported: Mapping[str, str] = field(default_factory=dict)
    """Edge or trigger that the drill does not support → the reason."""
    steps: tuple[str, str] = ("deployed the good release", "deployed the bad release")
    """Names of the two steps."""
    params: Params = field(default_factory=dict)
    """Parameters of the runbook besides the service."""
    later_params: tuple[Params, ...] = ()
    """Parameters of each later run that the drill triggers."""
    permissions: tuple[str, ...] = ()
    """Permissions of the command's token; empty for the sandbox's own token."""
    names_service: bool = True
    """Whether the runbook has the parameter `service`."""
    prepare: "Callable[[Sandbox, Environment, Service], None]" = lambda _sandbox, _environment, _service: None
    """Prepare the sandbox before the releases. Raises ConfigError."""
    runbook: str = ""
    """The runbook that recovers; "" if it is the name of the drill."""
    probes: "Callable[[Environment, Service], tuple[Probe, ...]]" = lambda _environment, service: service.probes
    """Return the probes of the runbook."""
    broken_ago: timedelta = timedelta(minutes=10)
    """Age of the failure; zero if it would not last."""
    is_good_served: bool = True
    """Whether the good release serves before the failure, so that its probes can pass."""
    in_workerd: "Scenario | None" = None
    """Another scenario for the workerd edge."""
    require: "Callable[[Environment, Service], None]" = lambda _environment, _service: None
    """Raise ConfigError if ops.yml lacks a part that the drill needs."""
    configure: "Callable[[Environment, Service], Scenario] | None" = None
    """Return the scenario with its parts that depend on ops.yml. Raises ConfigError."""
    suits: "Callable[[Environment, str], bool]" = lambda _environment, _service: True
    """Return whether the drill can break a service of its kind."""
    repository: str = ""
    """Repository that jobs check out from the folder SOURCE of the drill; "" if they check out none."""
    laptop_flags: tuple[str, ...] = ()
    """Options without a value that only a command has."""
    params_without_incident: Params = field(default_factory=dict)
    """Parameters that replace those of `params` without an incident."""
    is_watched: bool = False
    """Whether a job watches the service after the recovery; the drill then takes longer."""
    expected: Decision = Decision.RECOVERED
    """Decision of a drill that succeeds."""
    github_fails: str = ""
    """Requests to which GitHub answers 503; "" for none."""
    needs_incident: bool = False
    """Whether it needs an incident; without a trigger it is then one of the trigger `command`."""
    edit_config: "Callable[[str, Environment], str] | None" = None
    """Return the text of a valid `ops.yml` with what the drill needs besides; None if it needs nothing."""
    run: Callable[..., dict[str, Any]] | None = None
    """Runs the recovery, if it needs more than one trigger."""
    deploy_bad: "Callable[[DrillWorld, Service, Trigger, Say], int] | None" = None
    """Lets the job of the application's repository deploy the bad release, and returns the number of the incident."""


def _deploy_worker(sandbox: "Sandbox", service: "Service", name: str, edge: str, _folder: Path) -> None:
    if edge == "workerd":
        if name == "good" and not _has_example_probes(service):
            module = release_answers.build_module(service.probes, behind="./index.js")
            deploy_with_wrangler(sandbox, service, name, ANSWERS, files={ANSWERS: module})
        else:
            deploy_with_wrangler(sandbox, service, name, "src/index.js" if name == "good" else "src/index.bad.js")
        return
    behaviour = release_answers.build_behavior(service.probes) if name == "good" else {"status": 500}
    version = sandbox.upload(service.worker, code=name, behaviour=behaviour, tag=name, message=f"the {name} release")
    sandbox.deploy(service.worker, version)


@functools.cache
def _example_probes() -> "tuple[tuple[Probe, ...], ...]":
    config, _ = read_config(EXAMPLES / "ops.yml")
    return tuple(service.probes for each in config.environments.values() for service in each.services.values())


def _has_example_probes(service: "Service") -> bool:
    """Return whether the code of the example passes the service's probes."""
    return service.probes in _example_probes()


def deploy_with_wrangler(
    sandbox: "Sandbox", service: "Service", name: str, entry: str, files: Mapping[str, str] = NO_FILES
) -> None:
    """Deploy the example with the real wrangler, bound to the sandbox's KV namespace if there is one.

    `files`: path → text of further files. Raises ConfigError.
    """
    named = ["--name", service.worker, "--tag", name, "--message", f"the {name} release"]
    run_wrangler_on_example(sandbox, "deploy", entry, *named, purpose=f"deploy the {name} release", files=files)


def run_wrangler_on_example(
    sandbox: "Sandbox",
    *arguments: str,
    purpose: str,
    without: Sequence[str] = (),
    files: Mapping[str, str] = NO_FILES,
) -> None:
    """Run the real wrangler in a copy of the example, bound to the sandbox's KV and D1.

    The copy lacks the files `without`, and has `files` (path → text) besides.

    Raises ConfigError.
    """
    with tempfile.TemporaryDirectory() as home:  # wrangler keeps logs and logins in HOME
        folder = shutil.copytree(EXAMPLE, Path(home, "backend"), ignore=shutil.ignore_patterns(*without))
        for path, text in files.items():
            (folder / path).write_text(text)
        settings = folder / "wrangler.jsonc"
        for name, ids in (('"OPS_RUNTIME", "id"', sandbox.kv.namespaces), ('"database_id"', sandbox.d1.databases)):
            for id_ in ids:
                settings.write_text(re.sub(rf'({name}: )"[\w-]+"', rf'\1"{id_}"', settings.read_text()))
        environ = {**process.clean_environment(os.environ), **sandbox.environ(), **node.wrangler_environment(home)}
        argv = [*node.wrangler_command(), *arguments]
        done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if "Logs were written" not in line]
        last = [line for line in lines if line][-1:]
        raise ConfigError(f"wrangler could not {purpose}: {' '.join(last)} (exit {done.returncode})")


def _deploy_site(
    sandbox: "Sandbox", service: "Service", name: str, _edge: str, _folder: Path, commit: str = ""
) -> None:
    """Deploy the site. The bad release is the good one built into the wrong folder, so that each page is a 404."""
    from sandbox.cloudflare.pages.state import Asset

    if service.pages not in sandbox.pages.projects:
        sandbox.pages.add_project(service.pages, domains=[urlsplit(service.url).netloc])
    files: dict[str, bytes | Asset] = {
        _served_file(path): f"<!doctype html><h1>{path}, {name}</h1>".encode() for path in service.compare
    }
    for path, answer in release_answers.build_answers(service.probes).items():
        content = f"{answer.text}<!-- {name} -->" if answer.is_html else answer.text
        files[_served_file(path, is_html=answer.is_html)] = Asset(
            content=content.encode(), content_type=answer.content_type
        )
    if name == "bad":
        files = {f"dist/{path}": content for path, content in files.items()}
        files["404.html"] = b"<h1>not found</h1>"
    commit = commit or sha256(name.encode()).hexdigest()[:40]
    sandbox.pages.add_deployment(service.pages, files=files, commit=commit, message=f"the {name} release")


def _commit_site(sandbox: "Sandbox", service: "Service", name: str, edge: str, folder: Path) -> str | None:
    """Commit the example site where `build` expects it. Only the bad release was ever deployed."""
    built_in = service.require_build().folder
    try:
        node.install_packages()
    except node.MissingTool as error:
        raise ConfigError(f"the site of this drill cannot be built: {error}") from None
    tree = folder / SOURCE / built_in
    if name == "good":
        shutil.copytree(EXAMPLES / "frontend", tree, ignore=shutil.ignore_patterns("dist", ".wrangler", "node_modules"))
    else:
        builds = tree / "build.js"
        builds.write_text(builds.read_text().replace('join(root, "dist")', 'join(root, "dist", "dist")'))
    commit = commit_source(folder, f"The {name} release")
    if name == "good":
        return commit
    _deploy_site(sandbox, service, name, edge, folder, commit)
    sandbox.pages.projects[service.pages].lagging_reads = 0  # only the next deployment may lag
    return None


def commit_source(folder: Path, message: str, *, may_be_empty: bool = False) -> str:
    """Commit all files in the folder SOURCE of the drill, and return the SHA. The first commit makes the repository."""
    _run_git_in_source(folder, "init", "-q", "-b", "main")
    _run_git_in_source(folder, "add", "--all")
    empty = ["--allow-empty"] if may_be_empty else []
    _run_git_in_source(folder, "commit", "-q", "--no-gpg-sign", *empty, "-m", message)
    return _run_git_in_source(folder, "rev-parse", "HEAD")


def _run_git_in_source(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=drill", "-c", "user.email=drill@example.com", "-c", "core.hooksPath=/dev/null"]
    (folder / SOURCE).mkdir(exist_ok=True)
    done = subprocess.run(
        ["git", *who, *arguments],
        cwd=folder / SOURCE,
        env=process.clean_environment(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError(f"git {arguments[0]} failed: {done.stderr.strip()}", hint="Install git, and drill again.")
    return done.stdout.strip()


def source_variable(folder: Path) -> Mapping[str, str]:
    return {"OPS_SOURCE": str(folder / SOURCE)}


def _live_commit(sandbox: "Sandbox", service: "Service") -> str | None:
    live = sandbox.pages.projects[service.pages].live if service.pages in sandbox.pages.projects else None
    return live.commit_hash if live else None


def _served_file(path: str, *, is_html: bool = False) -> str:
    """Return the file that is served at the path."""
    path = urlsplit(path).path.removeprefix("/")
    if path.endswith("/") or not path:
        return f"{path}index.html"
    return f"{path}.html" if is_html and not PurePosixPath(path).suffix else path


WORKER = Scenario(
    "worker",
    _deploy_worker,
    live=lambda sandbox, service: sandbox.live(service.worker),
    changed_at=lambda sandbox, service: sandbox.deployments(service.worker)[0].made_at,
)
SITE = Scenario(
    "pages",
    _deploy_site,
    live=lambda sandbox, service: sandbox.pages.live(service.pages),
    changed_at=lambda _sandbox, _service: None,  # a rollback stores no time
)
COMMITS = Scenario(
    "pages",
    _commit_site,
    live=_live_commit,
    changed_at=lambda _sandbox, _service: None,
    environ=source_variable,
    is_good_served=False,
    steps=("committed the good release", "deployed the bad release"),
    unsupported=dict.fromkeys(("label", "button"), "its jobs download npm packages, which a drill does not"),
)


def open_workers_dev(sandbox: "Sandbox", service: "Service") -> None:
    """Serve the Worker on workers.dev if its url is there."""
    from sandbox.cloudflare.zones.state import WORKERS_DEV

    if service.worker in sandbox.account.workers and (urlsplit(service.url).hostname or "").endswith(WORKERS_DEV):
        sandbox.set_subdomain(service.worker, enabled=True)


def find_live_content(sandbox: "Sandbox", service: "Service") -> WantedContent | None:
    """Return the live deployment of a site in the sandbox, and another one; None for a Worker."""
    if not service.pages:
        return None
    live, deployments = sandbox.pages.live(service.pages), sandbox.pages.deployments(service.pages)
    newest = [each for each in deployments if each.id == live] + [each for each in deployments if each.id != live][:1]
    if not live or not newest:
        return None
    others = tuple(each.url for each in newest[1:])
    return WantedContent(live[:8], newest[0].url, others, service.url, service.compare)
