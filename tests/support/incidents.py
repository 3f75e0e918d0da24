"""An incident on the sandbox's GitHub, and runs that are told there."""

from dataclasses import dataclass
from typing import Any

import pytest

from sandbox.github import GitHub
from tests.conftest import Outcome, World

COMMENTS = "/repos/*/*/issues/*/comments"
COMMENT = "/repos/*/*/issues/comments/*"


@dataclass(frozen=True)
class Incident:
    world: World
    number: int

    @property
    def github(self) -> GitHub:
        return self.world.sandbox.github

    @property
    def bodies(self) -> list[str]:
        return [comment.body for comment in self.github.issue(self.number).comments]

    def rollback(self, *arguments: str, **environ: str | None) -> Outcome:
        return self.world.rollback("--incident", str(self.number), *arguments, **{**self.github.environ(), **environ})

    def rollback_pages(self, *arguments: str, **environ: str | None) -> Outcome:
        given = {**self.github.environ(), **environ}
        return self.world.rollback_pages("--incident", str(self.number), *arguments, **given)

    def ops(self, *arguments: str, **environ: Any) -> Outcome:
        return self.world.ops(*arguments, **{**self.github.environ(), **environ})


@pytest.fixture
def incident(world: World) -> Incident:
    hub = world.sandbox.github
    hub.add_user("alice")
    hub.add_user("zoe", "read")
    return Incident(world, hub.open_issue("API answers 500", "Since 10:00.", ["incident"], "alice"))
