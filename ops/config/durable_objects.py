"""What `ops.yml` says about Durable Objects that the application itself can reset and show, one by one."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from ops.config.probes import Probe, UrlPath
from ops.config.types import CLASS, ConfigModel, JsonPath, Name, SecretName


class DurableObject(ConfigModel):
    """One object, and the endpoints of the application that want a token: docs/how-to/reset-durable-object.md."""

    class_: str = Field(alias="class", pattern=CLASS, description="Its class, as the Worker exports it.")
    reset: UrlPath | None = Field(
        default=None,
        description="Path to which a POST makes the object forget what it has in memory, and nothing else.",
    )
    state: UrlPath | None = Field(
        default=None, description="Path where a GET shows what it has in memory and in storage, as JSON."
    )
    token: SecretName | None = Field(
        default=None,
        description="NAME of the environment variable that holds the application's token. Never the token.",
    )
    proof: JsonPath | None = Field(
        default=None,
        description="Path into that JSON to a number in memory that begins at 0, or a text that each start makes anew.",
    )
    keeps: JsonPath | None = Field(
        default=None, description="Path into that JSON to something in storage, which a reset must not take away."
    )
    probes: tuple[Probe, ...] = Field(
        default=(), description="What tells whether it is stuck: asked beside the service's probes by its reset alone."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.reset or self.state) and self.token is None:
            raise ValueError("its endpoints want a token; write the NAME of the variable that holds it under token")
        if (self.state is None) != (self.proof is None):
            raise ValueError("state shows the proof of a reset; write both, state and proof, or neither")
        if self.keeps and self.state is None:
            raise ValueError("keeps is read at state; write its path, or leave keeps out")
        return self


DurableObjects = Annotated[
    Mapping[Name, DurableObject],
    Field(description="Durable Objects that reset-durable-object can reset or look at by themselves, by name."),
]
