"""How a site of Pages is built, as `ops.yml` says it."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from ops.config.types import BUILD_PATH, Model, Seconds, SecretName, Text, between, duration_field


class Build(Model):
    """How a commit becomes a site. The tree is the commit's own; nothing is installed but by `command`."""

    folder: str = Field(default=".", pattern=BUILD_PATH, description="Where it is built: a folder of the repository.")
    command: tuple[Text, ...] = Field(
        min_length=1, description="The program and its arguments, from `folder`. No shell reads them."
    )
    output: str = Field(default="dist", pattern=BUILD_PATH, description="The folder that it leaves, below `folder`.")
    functions: str = Field(
        default="functions", pattern=BUILD_PATH, description="The folder of Pages Functions, below `folder`."
    )
    env: Mapping[SecretName, Annotated[str, Field(max_length=1000)]] = Field(
        default_factory=dict, description="Variables of the build and their values, which are no secrets."
    )
    timeout: Annotated[Seconds, between("1s", "20m")] = duration_field("10m", "After this time the build is ended.")
