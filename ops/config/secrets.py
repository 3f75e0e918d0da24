"""Secrets of Workers in `ops.yml`, for rotate-secrets: their names, never their values."""

import string
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ops.config.probes import HttpProbe
from ops.config.types import REPOSITORY, WEB_ADDRESS, ConfigModel, Name, Seconds, Text, between, duration_field

FEWEST_CHARACTERS = 16
Address = Annotated[str, Field(pattern=WEB_ADDRESS, max_length=300)]


def _various(alphabet: str) -> str:
    if len(set(alphabet)) < FEWEST_CHARACTERS or not alphabet.isascii() or not alphabet.isprintable():
        raise ValueError(f"too few; write at least {FEWEST_CHARACTERS} different ASCII characters")
    if " " in alphabet:
        raise ValueError("contains a space; leave it out")
    return alphabet


class KeyProvider(ConfigModel):
    """The AI provider of a key, with an API compatible with OpenAI's, which tells whether it accepts a key."""

    url: Address = Field(description="Base URL before /models, such as https://api.groq.com/openai/v1.")
    chat: Text | None = Field(
        default=None,
        description="Model to request one token from, if the list of models needs no key.",
    )
    timeout: Annotated[Seconds, between("100ms", "10s")] = duration_field(
        "5s", "Time limit of a request; without an answer nothing is proved."
    )


class SecretCopyTarget(ConfigModel):
    """The GitHub environment that holds the secret for the application's next deployment."""

    repository: str = Field(pattern=REPOSITORY, description="owner/name of the application's repository.")
    environment: Text = Field(description="GitHub environment in its settings.")


class RotatedSecret(ConfigModel):
    """A secret: source of its new value, services that use it, and proof that they use the new value."""

    rotate: Literal["provided", "generate", "never"] = Field(
        default="never",
        description="provided: new value in NEW_NAME. generate: random value. never: skipped, and reported.",
    )
    effect: Text | None = Field(default=None, description="Effect of a new value on users, shown in the plan.")
    consumers: tuple[Name, ...] = Field(
        default=(),
        description="Services with this secret. Each Worker gets the new value; a person sets it in a Pages project.",
    )
    min_length: int = Field(default=16, ge=8, le=5000, description="Fewest characters of a new value.")
    length: int = Field(default=64, ge=32, le=1000, description="Number of characters of a generated value.")
    alphabet: Annotated[str, AfterValidator(_various)] = Field(
        default=string.ascii_letters + string.digits, max_length=100, description="Characters of a generated value."
    )
    page: Address | None = Field(default=None, description="Page where a person creates and revokes keys.")
    usage: Address | None = Field(default=None, description="Page that shows the usage of the key.")
    provider: KeyProvider | None = Field(
        default=None, description="Provider that checks a value before it is set, and after it is revoked."
    )
    proofs: Mapping[Name, tuple[HttpProbe, ...]] = Field(
        default_factory=dict,
        description="Consumer → requests that need the secret; each answer echoes the Worker's version.",
    )
    github: SecretCopyTarget | None = Field(
        default=None, description="Copy on GitHub, which the next deployment would restore."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rotate == "generate" and self.provider is not None:
            raise ValueError("a provider does not accept generated keys; write rotate: provided, or leave provider out")
        if self.rotate != "never" and not self.consumers:
            raise ValueError("no consumers; list the services with this secret, or write rotate: never")
        return self
