"""Durable Objects in `ops.yml` that the application can reset and show one by one."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from ops.config.probes import Probe, UrlPath
from ops.config.types import CLASS, ConfigModel, JsonPath, Name, SecretName, TokenLocation


class DurableObject(ConfigModel):
    """A Durable Object and its endpoints, which need a token (docs/how-to/reset-durable-object.md)."""

    class_: str = Field(alias="class", pattern=CLASS, description="Class that the Worker exports.")
    reset: UrlPath | None = Field(
        default=None,
        description="Path where a POST clears the object's memory, and nothing else.",
    )
    state: UrlPath | None = Field(default=None, description="Path where a GET returns its memory and storage as JSON.")
    token: SecretName | None = Field(
        default=None,
        description="NAME of the environment variable that holds the application's token. Never the token.",
    )
    token_location: TokenLocation | None = Field(
        default=None, description="Place where people find that token. Shown on incidents."
    )
    proof: JsonPath | None = Field(
        default=None,
        description="JSON path in `state` to a number in memory that starts at 0, or a text that each start generates.",
    )
    keeps: JsonPath | None = Field(
        default=None, description="JSON path in `state` to a stored value that a reset must keep."
    )
    probes: tuple[Probe, ...] = Field(
        default=(),
        description="Probes that show whether it is stuck; only its reset runs them, besides the service's probes.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.reset or self.state) and self.token is None:
            raise ValueError("its endpoints need a token; write the NAME of its variable under token")
        if (self.state is None) != (self.proof is None):
            raise ValueError("state and proof belong together; write both or neither")
        if self.keeps and self.state is None:
            raise ValueError("keeps is read from state; write state, or leave keeps out")
        return self


DurableObjects = Annotated[
    Mapping[Name, DurableObject],
    Field(description="Durable Objects that reset-durable-object can reset or read one by one, by name."),
]
