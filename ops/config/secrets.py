"""What `ops.yml` says about the secrets of Workers, for rotate-secrets. It names them; no value stands in it."""

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
        raise ValueError(f"too poor; write at least {FEWEST_CHARACTERS} different characters of ASCII")
    if " " in alphabet:
        raise ValueError("a space in it; leave it out")
    return alphabet


class KeyProvider(ConfigModel):
    """Who issued the key, and is asked whether it takes one: OpenAI's wire."""

    url: Address = Field(description="What stands before /models, such as https://api.groq.com/openai/v1.")
    chat: Text | None = Field(
        default=None,
        description="A model that is asked for one token, where the list of models is open to whoever asks.",
    )
    timeout: Annotated[Seconds, between("100ms", "10s")] = duration_field(
        "5s", "No answer within this time proves nothing."
    )


class SecretCopyTarget(ConfigModel):
    """The environment of GitHub that holds the secret for the application's next deployment."""

    repository: str = Field(pattern=REPOSITORY, description="owner/name of the application's repository.")
    environment: Text = Field(description="The environment in its settings.")


class RotatedSecret(ConfigModel):
    """One secret: where its new value comes from, who uses it, and what proves that the new value is in use."""

    rotate: Literal["provided", "generate", "never"] = Field(
        default="never",
        description="provided: the new value is in NEW_NAME. generate: it is made. never: it is passed over, by name.",
    )
    effect: Text | None = Field(default=None, description="What a new value does to people, shown in the plan.")
    consumers: tuple[Name, ...] = Field(default=(), description="The services with this secret; all are written.")
    min_length: int = Field(default=16, ge=8, le=5000, description="A shorter new value is refused.")
    length: int = Field(default=64, ge=32, le=1000, description="Characters of a generated value.")
    alphabet: Annotated[str, AfterValidator(_various)] = Field(
        default=string.ascii_letters + string.digits, max_length=100, description="What a generated value is made of."
    )
    page: Address | None = Field(default=None, description="Where a person makes and revokes keys.")
    usage: Address | None = Field(default=None, description="Where a person sees what the key was used for.")
    provider: KeyProvider | None = Field(default=None, description="Asked before a value is set, and after its end.")
    proofs: Mapping[Name, tuple[HttpProbe, ...]] = Field(
        default_factory=dict,
        description="Consumer → requests that it can answer only with the secret; each echoes the Worker's version.",
    )
    github: SecretCopyTarget | None = Field(
        default=None, description="The copy that the next deployment would bring back."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rotate == "generate" and self.provider is not None:
            raise ValueError("a provider takes no generated key; write rotate: provided, or leave the provider out")
        if self.rotate != "never" and not self.consumers:
            raise ValueError("no consumers; name the services with this secret, or write rotate: never")
        return self
