"""Read the rules of `ops sandbox --faults FILE`: requests that fail in the sandbox."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, RootModel, model_validator

from ops.config.strict_yaml import read_yaml
from ops.config.types import ConfigModel, build_model, format_problems
from ops.core.errors import ConfigError
from ops.core.names import count_of

if TYPE_CHECKING:
    from sandbox import Sandbox
    from sandbox.faults import Fault


EFFECTS = ("delay", "lost", "status", "code", "body", "headers", "truncate")
Seconds = Annotated[float, Field(ge=0, le=3600)]


class Rule(ConfigModel):
    """A rule: which requests it matches, and their fault. The fields are those of the sandbox's own rules.

    The text below each field is its row in docs/reference/sandbox.md.
    """

    part: Literal["cloudflare", "github", "edge"] = "cloudflare"
    """`cloudflare`, `github`, or `edge` (Workers and sites)."""
    method: Literal["*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "*"
    """Method of the matching requests; `*` is any."""
    path: str = Field(default="**", pattern=r"^(/|\*\*)", max_length=500)
    """Path of the matching requests; `*` is one segment, `**` any number."""
    host: str = Field(default="*", max_length=253)
    """Host of the matching requests, for `edge`."""
    times: Annotated[int, Field(ge=1)] | None = 1
    """Number of requests that it affects; `null` is all."""
    skip: int = Field(default=0, ge=0)
    """Number of matching requests that pass first."""
    delay: Annotated[int, Field(ge=0, le=3600)] | Seconds = 0.0
    """Seconds before the answer, by the clock of this machine."""
    lost: Literal["before", "after"] | None = None
    """`before` or `after` the request took effect: close the connection without an answer."""
    status: int | None = Field(default=None, ge=200, le=599)
    """HTTP status of the answer."""
    code: int | None = None
    """Error code of Cloudflare in the answer."""
    message: str = Field(default="a fault of the sandbox", max_length=1000)
    """Error message in the answer."""
    body: str | None = None
    """Text to answer instead of JSON."""
    content_type: str | None = None
    """Content type of `body`."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers to add to the answer."""
    applied: bool = False
    """With `status`, `code` or `body`: `true` lets the request take effect."""
    truncate: int | None = Field(default=None, ge=0)
    """Announce the whole answer, send this many bytes of its body, and close."""

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


def parse_fault_rules(text: str, *, path: str) -> tuple[Rule, ...]:
    """Return the rules of a YAML or JSON text. Raises ConfigError with every problem and its line."""
    model, problems = build_model(_FaultFile, read_yaml(text), ())
    if model is None or problems:
        raise ConfigError(
            f"{path} has {count_of(len(problems), 'problem')}",
            hint="Correct every line named here: docs/reference/sandbox.md lists the fields of a rule.",
            problems=format_problems(path, problems),
        )
    return model.root


def read_fault_rules(path: Path) -> tuple[Rule, ...]:
    """Return the rules of a YAML or JSON file. Raises ConfigError with every problem and its line."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        hint = "Write the path of a file with rules: docs/reference/sandbox.md has an example."
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint=hint) from None
    return parse_fault_rules(text, path=str(path))


def add_rules(sandbox: "Sandbox", rules: tuple[Rule, ...]) -> "list[Fault]":
    """Activate the rules, in the order of the file."""
    parts = {"cloudflare": sandbox.fault, "github": sandbox.github.fault, "edge": sandbox.edge_fault}
    return [parts[rule.part](**rule.model_dump(exclude={"part"}, exclude_unset=True)) for rule in rules]


@contextmanager
def active_faults(sandbox: "Sandbox", rules: tuple[Rule, ...]) -> "Iterator[None]":
    """Let requests of the block fail by the rules."""
    added = add_rules(sandbox, rules)
    try:
        yield
    finally:
        for fault in added:
            fault.remove()
