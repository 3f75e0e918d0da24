"""The part of `ops.yml` for an application that reads limits and switches at run time.

See docs/reference/runtime-contract.md.
"""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from ops.config.probes import Probe
from ops.config.types import ACCOUNT, SWITCH, ConfigModel, Name, Seconds, Text, between, duration_field

SwitchName = Annotated[str, Field(pattern=SWITCH)]


class LimitRaise(ConfigModel):
    """The value that a button or label proposes for one limit; no issue's text can change it."""

    limit: int = Field(ge=1, le=1_000_000, description="Temporary number of requests within the period.")
    lasts: Annotated[Seconds, between("1m", "336h")] = duration_field(
        "4h", "Duration of the temporary value, at most 14 days."
    )


class LimitsConfig(ConfigModel):
    """The limits that `limits.yml` may hold; only that file has their values."""

    names: tuple[SwitchName, ...] = Field(min_length=1, max_length=1000, description="Limits that the code declares.")
    enforce: bool = Field(
        default=False,
        description="Whether reconcile restores the values of limits.yml a day after it reported a difference.",
    )
    raises: Mapping[SwitchName, LimitRaise] = Field(
        default_factory=dict, description="Limit → value that propose-limits proposes."
    )


class SwitchConfig(ConfigModel):
    """A switch that the application knows; its first state is the normal one."""

    states: tuple[SwitchName, ...] = Field(
        default=("on", "off"), min_length=2, max_length=20, description="Possible states, the normal one first."
    )
    on_unknown: SwitchName | None = Field(
        default=None, description="State that the application assumes if it never read the switch (default: normal)."
    )
    longest: Annotated[Seconds, between("1m", "720h")] = duration_field(
        "4h", "Longest time that it stays set; also the default."
    )
    effect: Mapping[SwitchName, Text] = Field(
        default_factory=dict, description="State → its effect, shown in the plan."
    )
    probes: tuple[Probe, ...] = Field(
        default=(),
        description="Probes that show whether it helps; a run that sets it adds them to the service's probes.",
    )

    @property
    def normal(self) -> str:
        """Return the normal state."""
        return self.states[0]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.states)) < len(self.states):
            raise ValueError("a state is listed twice; keep one")
        if unknown := {*self.effect, *filter(None, [self.on_unknown])} - {*self.states}:
            raise ValueError(f"unknown state {', '.join(sorted(unknown))}; write one of {', '.join(self.states)}")
        return self


class AiConfig(ConfigModel):
    """AI providers of the application: their order, keys and failback. Their switch is `ai`."""

    order: tuple[SwitchName, ...] = Field(
        min_length=1, max_length=10, description="Providers, the preferred one first."
    )
    keys: Mapping[SwitchName, str] = Field(
        default_factory=dict, description="Provider → secret under `secrets` whose `provider` a paid probe calls."
    )
    fail_back: Annotated[Seconds, between("5m", "24h")] = duration_field(
        "15m", "Time that the preferred provider must be healthy before an override ends."
    )
    message: Text = Field(
        default="AI interpretations temporarily unavailable", description="Message for users while AI is off."
    )


class RuntimeConfig(ConfigModel):
    """A Worker that reads `ops/…` keys of a KV namespace and reports the values in effect at /__ops/runtime."""

    service: Name = Field(description="Service that reads them.")
    namespace: str = Field(pattern=ACCOUNT, description="Id of the KV namespace: 32 hexadecimal digits.")
    settle: Annotated[Seconds, between("1s", "10m")] = duration_field(
        "90s", "Longest time until the public endpoint shows a new value."
    )
    limits: LimitsConfig | None = Field(default=None, description="Its limits, for limits.yml.")
    switches: Mapping[SwitchName, SwitchConfig] = Field(default_factory=dict, description="Its switches, by name.")
    ai: AiConfig | None = Field(default=None, description="Its AI providers, for ai-failover.")
