"""Read the rules of `ops sandbox --faults`: requests that fail in the sandbox."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, RootModel, model_validator

from ops.config.messages import build_model, format_problems
from ops.config.strict_yaml import read_yaml
from ops.config.types import ConfigModel
from ops.core.errors import ConfigError

if TYPE_CHECKING:
    from sandbox import Sandbox


EFFECTS = ("delay", "lost", "status", "code", "body", "headers", "truncate")
Seconds = Annotated[float, Field(ge=0, le=3600)]


class Rule(ConfigModel):
    """A rule: which requests it matches, and their fault. The fields are those of the sandbox's own rules."""

    part: Literal["cloudflare", "github", "edge"] = "cloudflare"
    method: Literal["*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "*"
    path: str = Field(default="**", pattern=r"^(/|\*\*)", max_length=500)
    host: str = Field(default="*", max_length=253)
    times: Annotated[int, Field(ge=1)] | None = 1
    skip: int = Field(default=0, ge=0)
    delay: Annotated[int, Field(ge=0, le=3600)] | Seconds = 0.0
    lost: Literal["before", "after"] | None = None
    status: int | None = Field(default=None, ge=200, le=599)
    code: int | None = None
    message: str = Field(default="a fault of the sandbox", max_length=1000)
    body: str | None = None
    content_type: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    applied: bool = False
    truncate: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if not self.model_fields_set & set(EFFECTS):
            raise ValueError(f"no effect; write one of: {', '.join(EFFECTS)}")
        if self.applied and self.status is None and self.code is None and self.body is None:
            raise ValueError("applied without status, code or body; leave it out, or write lost: after")
        if self.code is not None and self.part != "cloudflare":
            raise ValueError(f"code is of Cloudflare's errors only; write status or body for {self.part}")
        return self


class _FaultFile(RootModel[Annotated[tuple[Rule, ...], Field(min_length=1, max_length=1000)]]):
    """A list of rules. If several match a request, the first one is the outermost."""


def parse(text: str, *, path: str) -> tuple[Rule, ...]:
    """Return the rules of a YAML or JSON text. Raises ConfigError with every problem and its line."""
    model, problems = build_model(_FaultFile, read_yaml(text), ())
    if model is None or problems:
        raise ConfigError(
            f"{path} has {len(problems)} problem{'s' if len(problems) > 1 else ''}",
            hint="Correct every line named here: docs/reference/sandbox.md lists the fields of a rule.",
            problems=format_problems(path, problems),
        )
    return model.root


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Return the rules of a YAML or JSON file. Raises ConfigError with every problem and its line."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        hint = "Write the path of a file with rules: docs/reference/sandbox.md has an example."
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint=hint) from None
    return parse(text, path=str(path))


def add_rules(sandbox: "Sandbox", rules: tuple[Rule, ...]) -> None:
    """Activate the rules, in the order of the file."""
    parts = {"cloudflare": sandbox.fault, "github": sandbox.github.fault, "edge": sandbox.edge_fault}
    for rule in rules:
        given = rule.model_dump(exclude={"part"}, exclude_unset=True)
        parts[rule.part](**given)
