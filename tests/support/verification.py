"""An account and a repository to measure with `ops verify-platform`, and what belongs to others in them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, NoReturn

import pytest

from ops.cli.verify_platform import GITHUB_TOKEN, READ_TOKEN, TOKEN
from ops.core.verification_name import is_verification_name
from ops.github.own_writes import own_branch_of
from ops.platform.github_verification import STRANGER
from sandbox import Sandbox
from sandbox.github import GitHub
from sandbox.permissions import permission_groups
from sandbox.records import RequestRecord
from sandbox.server import HttpRequest
from sandbox.switches import GitHubSwitches, Switches
from tests.conftest import READS_BY_POST, Outcome, World
from tests.support.interleavings import Killed

SECRET = "v1.0-token-of-the-verification"
READ_SECRET = "v1.0-token-that-only-reads"
READING = ("D1 Read", "Workers Observability Read")
ACCOUNT = "4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c"
ZONE = "measured.example"
WRITING = ("Workers Scripts Write", "Workers KV Storage Write", "D1 Write", "Pages Write")


def is_write(request: HttpRequest | RequestRecord) -> bool:
    return request.method != "GET" and not request.path.endswith(READS_BY_POST)


@dataclass(frozen=True)
class MeasuredPlatform:
    """A platform to measure; its folder has no ops.yml."""

    option: ClassVar[tuple[str, str]]
    """Option that names what to measure, and its value."""

    sandbox: Sandbox
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "platform.json"

    @property
    def environ(self) -> dict[str, str]:
        return {TOKEN: SECRET}

    def verify(self, *arguments: str, **environ: str | None) -> Outcome:
        """Run `ops verify-platform`."""
        output = () if "--output" in arguments else ("--output", str(self.output))
        option = () if self.option[0] in arguments else self.option
        given = (*option, *arguments, "--config", str(self.folder / "ops.yml"), *output)
        return World(self.sandbox, self.folder).ops("verify-platform", *given, **{**self.environ, **environ})

    @property
    def measured(self) -> Sandbox | GitHub:
        """What gets the writes of a run."""
        return self.sandbox

    def verify_killed(self, request: int, moment: str) -> None:
        """Run it with --yes, and kill it before or after its request with this number."""
        measured, sent = self.measured, self.measured.requests

        def die() -> NoReturn:
            raise Killed

        dies: dict[str, Any] = {moment: die, "times": 1, "is_prompt": True}
        at = measured.fault(when=lambda _: len(sent) == request + 1, **dies)
        gone = measured.fault(when=lambda _: len(sent) > request + 1, before=die, times=None, is_prompt=True)
        with pytest.raises(Killed):
            self.verify("--yes")
        for each in (at, gone):
            each.remove()

    def states_around_writes(self, read: Callable[[Sandbox], object]) -> list[object]:
        """Run it with --yes, and return what `read` returns before and after each write."""
        states = list[object]()

        def look() -> None:
            states.append(read(self.sandbox))

        self.measured.fault(when=is_write, before=look, after=look, times=None, is_prompt=True)
        assert self.verify("--yes").code == 0
        return states

    def measure(self, *arguments: str) -> dict[str, Any]:
        """Run it with --yes, and return the JSON result."""
        outcome = self.verify("--yes", "--json", *arguments)
        assert outcome.code in {0, 4}, outcome.err
        result: dict[str, Any] = outcome.result
        assert result["exit_code"] == outcome.code
        assert json.loads(self.output.read_text()) == result
        return result


class MeasuredAccount(MeasuredPlatform):
    option = ("--account", ACCOUNT)

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, READ_TOKEN: READ_SECRET}

    def names(self) -> dict[str, list[str]]:
        """Return the names of everything that the account holds."""
        return {
            "workers": sorted(self.sandbox.account.workers),
            "sites": sorted(self.sandbox.pages.projects),
            "namespaces": sorted(each.title for each in self.sandbox.kv.namespaces.values()),
            "databases": sorted(each.name for each in self.sandbox.d1.databases.values()),
        }

    def left(self) -> list[str]:
        return [name for names in self.names().values() for name in names if is_verification_name(name)]

    def add(self, name: str) -> None:
        """Add one resource of each kind with this name."""
        self.sandbox.deploy(name, self.sandbox.upload(name))
        self.sandbox.pages.add_project(name)
        self.sandbox.kv.put(self.sandbox.kv.add(name), "key", "value")
        self.sandbox.d1.add(name)

    def writes(self) -> list[RequestRecord]:
        return World(self.sandbox, self.folder).writes()


@contextmanager
def measured_account(
    switches: Switches | None = None, edge: Literal["embedded", "workerd"] = "embedded"
) -> Iterator[MeasuredAccount]:
    with (
        TemporaryDirectory() as folder,
        Sandbox(account_id=ACCOUNT, edge=edge, virtual_clock=True, switches=switches) as sandbox,
    ):
        sandbox.rename_account("Measured")
        sandbox.add_token(SECRET, permission_groups())
        sandbox.add_token(READ_SECRET, READING)
        sandbox.zones.add(ZONE)
        yield MeasuredAccount(sandbox, Path(folder))


def outcomes_of(result: dict[str, Any]) -> dict[str, str]:
    return {row["id"]: row["outcome"] for row in result["assumptions"]}


REPOSITORY = "acme/ledger-lab"
OWNER = "maria"
GITHUB_SECRET = "github_pat_token-of-the-verification"
PERMISSIONS_ON_GITHUB = (
    *("actions:write", "administration:write", "contents:write", "deployments:read", "environments:write"),
    *("issues:write", "pull_requests:write", "workflows:write"),
)
WORKFLOW_FILE = ".github/workflows/verify-platform.yml"


class MeasuredRepository(MeasuredPlatform):
    option = ("--repository", REPOSITORY)

    @property
    def environ(self) -> dict[str, str]:
        github = self.sandbox.github.environ()
        addresses = {name: github[name] for name in ("GITHUB_API_URL", "GITHUB_SERVER_URL")}
        return {**super().environ, **addresses, GITHUB_TOKEN: GITHUB_SECRET}

    @property
    def measured(self) -> GitHub:
        return self.sandbox.github

    def merge_on_request(self) -> None:
        """Merge each pull request of a run into the default branch at its next sleep."""
        self.sandbox.clock.on_sleep = self.merge_all

    def merge_all(self) -> None:
        github = self.sandbox.github
        for number in github.open_pulls():
            head, base = github.pull_branches(number)
            if base == "main" and own_branch_of(head):
                github.merge(number, OWNER)

    def names(self) -> dict[str, list[str]]:
        """Return everything that a run may make, and the open issues and pull requests of people."""
        repository = self.sandbox.github
        return {
            "branches": sorted(repository.branches),
            "environments": sorted(repository.environments),
            "labels": sorted(repository.labels),
            "issues": sorted(each.title for each in repository.issues if each.state == "open" and not each.pull),
            "pulls": sorted(repository.pull_branches(number)[0] for number in repository.open_pulls()),
            "files": sorted(repository.files()),
        }

    def left(self) -> list[str]:
        """Return what runs left, without the file on the default branch."""
        return [
            name for kind, names in self.names().items() if kind != "files" for name in names if own_branch_of(name)
        ]

    def add(self, name: str) -> None:
        """Add one thing of each kind with this name, by a person."""
        github = self.sandbox.github
        github.add_commit("Something", OWNER, files={f"{name}.md": "text"}, branch=name)
        github.add_environment(name)
        number = github.open_issue(name, author=OWNER)
        github.label(number, name, OWNER)
        github.open_pull(f"Merge {name}", name, OWNER)


@contextmanager
def measured_repository(switches: GitHubSwitches | None = None) -> Iterator[MeasuredRepository]:
    with (
        TemporaryDirectory() as folder,
        Sandbox(account_id=ACCOUNT, virtual_clock=True, repository=REPOSITORY) as sandbox,
    ):
        for field in fields(switches or GitHubSwitches()):
            setattr(sandbox.github.switches, field.name, getattr(switches or GitHubSwitches(), field.name))
        sandbox.github.add_user(OWNER, "admin")
        sandbox.github.add_user(STRANGER, None)
        sandbox.github.add_token(GITHUB_SECRET, OWNER, PERMISSIONS_ON_GITHUB)
        sandbox.add_token(SECRET, permission_groups())
        yield MeasuredRepository(sandbox, Path(folder))
