"""An account to measure with `ops verify-platform`, and what belongs to others in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from ops.cli.verify_platform import TOKEN
from ops.cloudflare.own_writes import is_verification_name
from sandbox import Sandbox
from sandbox.permissions import permission_groups
from sandbox.records import RequestRecord
from sandbox.switches import Switches
from tests.conftest import Outcome, World

SECRET = "v1.0-token-of-the-verification"
ACCOUNT = "4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c"
ZONE = "measured.example"
WRITING = ("Workers Scripts Write", "Workers KV Storage Write", "D1 Write", "Pages Write")


@dataclass(frozen=True)
class MeasuredAccount:
    sandbox: Sandbox
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "platform.json"

    def verify(self, *arguments: str, **environ: str | None) -> Outcome:
        """Run `ops verify-platform` without an ops.yml in its folder."""
        output = () if "--output" in arguments else ("--output", str(self.output))
        given = (*arguments, "--config", str(self.folder / "ops.yml"), *output)
        account = () if "--account" in arguments else ("--account", ACCOUNT)
        return World(self.sandbox, self.folder).ops("verify-platform", *account, *given, **{TOKEN: SECRET, **environ})

    def measure(self) -> dict[str, Any]:
        """Run it with --yes, and return the JSON result."""
        outcome = self.verify("--yes", "--json")
        assert outcome.code in {0, 4}, outcome.err
        result: dict[str, Any] = outcome.result
        assert result["exit_code"] == outcome.code
        assert json.loads(self.output.read_text()) == result
        return result

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
        sandbox.zones.add(ZONE)
        yield MeasuredAccount(sandbox, Path(folder))


def outcomes_of(result: dict[str, Any]) -> dict[str, str]:
    return {row["id"]: row["outcome"] for row in result["assumptions"]}
