"""Settings of the operations repository on GitHub, and labels of its issue templates."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import yaml
from pydantic import Field

from ops.config.types import ARCHIVE, BRANCH, REPOSITORY, ConfigModel

ActingEnvironment = Literal["recovery", "security", "database"]
"""A GitHub environment with the secrets of jobs that make changes."""
ScheduledTask = Literal["ai-failback", "doctor", "reconcile-limits", "reopen-maintenance", "watch"]
"""A task that a schedule can start."""
ScheduleInterval = Literal["5m", "10m", "15m", "20m", "30m", "1h", "2h", "3h", "4h", "6h", "8h", "12h", "24h", "7d"]
"""Intervals that a cron line can express, from GitHub's shortest."""


class GitHubConfig(ConfigModel):
    """Settings of the operations repository: branch, features of the GitHub plan, and schedules."""

    branch: str = Field(
        default="main",
        pattern=BRANCH,
        max_length=200,
        description="Default branch; only workflows on it may make changes.",
    )
    actions: str | None = Field(
        default=None,
        pattern=REPOSITORY,
        description="Repository of Backout, as owner/name, whose actions the jobs use (default: this one is a copy).",
    )
    environments: bool = Field(
        default=True,
        description="Whether the plan has environments (not on GitHub Free if private); else repository secrets.",
    )
    enterprise_server: bool = Field(
        default=False, description="Omit newer workflow keys. No server but github.com is supported."
    )
    schedules: Mapping[ScheduledTask, ScheduleInterval] = Field(
        default_factory=dict, description="Task → interval of its schedule (default: no schedule)."
    )
    wheels_archive: str | None = Field(
        default=None,
        pattern=ARCHIVE,
        max_length=500,
        description="Archive of wheels to install from while the package index is down (default: none).",
    )
    included_minutes: int = Field(
        default=2000,
        ge=0,
        le=1_000_000,
        description="Actions minutes a month in the plan; 0 for a public repository, where they are free.",
    )
    accept_minutes: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Minutes a month that schedules may use, if more than half of the included ones.",
    )

    @property
    def laptop_program(self) -> str:
        """The beginning of a command on a laptop: only a copy of Backout has the file `run`."""
        return "ops" if self.actions else "./run ops"

    def secret(self, environment: str, name: str) -> str:
        """Return the GitHub secret that a job in this GitHub environment reads for a variable."""
        return name if self.environments or not environment else f"{environment.upper()}_{name}"


def read_template_labels(text: str, suffix: str) -> Iterator[str]:
    """Yield the labels of a template with this file suffix; none if GitHub cannot read the template either."""
    text = text.removeprefix("\ufeff")
    if suffix == ".md":
        front = re.match(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", text, re.DOTALL | re.MULTILINE)
        text = front[1] if front else ""
    try:
        data: Any = yaml.BaseLoader(text).get_single_data()  # reads texts only, so a date or a tag cannot fail
    except yaml.YAMLError:
        return
    found = data.get("labels", []) if isinstance(data, dict) else []
    listed = found.split(",") if isinstance(found, str) else found if isinstance(found, list) else []
    yield from (str(label).strip() for label in listed)
