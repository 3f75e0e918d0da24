"""The settings of a drill, and the sandbox that they make."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ops.core.errors import ConfigError
from ops.drills import faults
from ops.drills.measured_platform import PlatformProfile
from ops.drills.support import Edge, Trigger
from ops.tools import node

if TYPE_CHECKING:
    from ops.config import Config
    from sandbox import Sandbox
    from sandbox.switches import Switches


@dataclass(frozen=True)
class DrillSettings:
    """The settings of a drill."""

    edge: Edge
    config: Path
    environment: str
    service: str
    """"" for the first service of the drill's kind."""
    switches: tuple[str, ...] = ()
    """Switches of the sandbox, as `name=value`."""
    trigger: Trigger | None = None
    """None for the plain command, without GitHub."""
    github_fails: str | None = None
    rules: tuple[faults.Rule, ...] = ()
    """Requests that fail while the recovery runs."""
    platform: PlatformProfile | None = None
    """Measured answers to play; None for the sandbox's defaults alone."""
    github_switches: tuple[str, ...] = ()
    """Switches of the local GitHub, as `name=value`."""


def describe_place(drill: DrillSettings) -> str:
    """Return the environment and the file, as a person would type it in this folder."""
    here, path = Path.cwd(), drill.config
    return f"{drill.environment} in {path.relative_to(here) if path.is_relative_to(here) else path}"


def has_sandbox() -> bool:
    """Return whether the package of the sandbox is installed: an installation has it only with the extra."""
    return importlib.util.find_spec("multipart") is not None


def require_sandbox() -> None:
    """Raise ConfigError if the package of the sandbox is missing."""
    if not has_sandbox():
        hint = "Install Backout with the extra `sandbox`, for example `pipx inject backout multipart`."
        raise ConfigError("the sandbox needs the package multipart, which is not installed", hint=hint)


def make_sandbox(drill: DrillSettings, config: "Config") -> "Sandbox":
    from sandbox import Sandbox
    from sandbox.switches import parse_values

    account = config.environment(drill.environment).account_id
    made = Sandbox(account_id=account, edge=drill.edge, switches=prepare_switches(drill.edge, drill.switches))
    made.github.switches.plan = "enterprise" if config.github.environments else "free"
    for name, value in parse_values(drill.github_switches, made.github.switches).items():
        setattr(made.github.switches, name, value)
    if drill.edge == "embedded":  # workerd restarts if its clock is moved
        made.clock.longest_sleep = 0.0
    return made


def prepare_switches(edge: Edge, switches: Iterable[str]) -> "Switches":
    """Return the sandbox's switches, and install its npm packages if needed. Raises ConfigError."""
    from sandbox.switches import parse

    try:
        if edge == "workerd":
            node.install_packages()
        return parse(switches)
    except (node.MissingTool, ValueError) as error:
        raise ConfigError(str(error)) from None
