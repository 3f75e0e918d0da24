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
    """What a button or a label proposes for one limit: never what somebody writes into an issue."""

    limit: int = Field(ge=1, le=1_000_000, description="Requests within the period, for a while.")
    lasts: Annotated[Seconds, between("1m", "336h")] = duration_field("4h", "For how long, at most 14 days.")


class LimitsConfig(ConfigModel):
    """The limits that `limits.yml` may hold. Their values stand there, and nowhere here."""

    names: tuple[SwitchName, ...] = Field(
        min_length=1, max_length=1000, description="The limits that the code declares."
    )
    enforce: bool = Field(
        default=False, description="reconcile puts right what differs from limits.yml, a day after it reported it."
    )
    raises: Mapping[SwitchName, LimitRaise] = Field(
        default_factory=dict, description="Limit → what propose-limits proposes for it."
    )


class SwitchConfig(ConfigModel):
    """A switch that the application knows: on a calm day in its normal state, the first one."""

    states: tuple[SwitchName, ...] = Field(
        default=("on", "off"), min_length=2, max_length=20, description="What it may be, the normal state first."
    )
    on_unknown: SwitchName | None = Field(
        default=None, description="What the application takes it for where it never saw it; without it, normal."
    )
    longest: Annotated[Seconds, between("1m", "720h")] = duration_field(
        "4h", "It ends by itself after this time at the latest, and after this time where nobody said when."
    )
    effect: Mapping[SwitchName, Text] = Field(
        default_factory=dict, description="State → what follows of it, shown in the plan."
    )
    probes: tuple[Probe, ...] = Field(
        default=(), description="What tells whether it helps: asked beside the service's probes by whoever sets it."
    )

    @property
    def normal(self) -> str:
        return self.states[0]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.states)) < len(self.states):
            raise ValueError("a state stands there twice; keep one")
        if stray := {*self.effect, *filter(None, [self.on_unknown])} - {*self.states}:
            raise ValueError(f"no state {', '.join(sorted(stray))}; write one of {', '.join(self.states)}")
        return self


class AiConfig(ConfigModel):
    """How the application's AI providers are watched and put in order. Its switch is `ai`."""

    order: tuple[SwitchName, ...] = Field(
        min_length=1, max_length=10, description="The providers, the preferred first."
    )
    keys: Mapping[SwitchName, str] = Field(
        default_factory=dict, description="Provider → the secret under `secrets` whose `provider` a paid probe asks."
    )
    fail_back: Annotated[Seconds, between("5m", "24h")] = duration_field(
        "15m", "An override is taken back once the preferred provider was healthy for this long."
    )
    message: Text = Field(
        default="AI interpretations temporarily unavailable", description="What users are told while it is off."
    )


class RuntimeConfig(ConfigModel):
    """One Worker that reads `ops/…` keys of a KV namespace, and shows what is in effect at /__ops/runtime."""

    service: Name = Field(description="The service that reads them.")
    namespace: str = Field(pattern=ACCOUNT, description="The KV namespace's id: 32 hexadecimal digits.")
    settle: Annotated[Seconds, between("1s", "10m")] = duration_field(
        "90s", "How long a new value may take until it is seen at the public endpoint."
    )
    limits: LimitsConfig | None = Field(default=None, description="Its limits, for limits.yml.")
    switches: Mapping[SwitchName, SwitchConfig] = Field(default_factory=dict, description="Its switches, by name.")
    ai: AiConfig | None = Field(default=None, description="Its AI providers, for ai-failover.")
