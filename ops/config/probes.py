"""Probes in `ops.yml` (`http`, `page`, `browser`, `command`) and the set that a run sends."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from ops.config.types import (
    HEADER,
    URL_PATH,
    ConfigModel,
    JsonPath,
    JsonValue,
    Name,
    RegularExpression,
    Seconds,
    SecretName,
    Text,
    between,
    duration_field,
)
from ops.core.clock import unparse_duration
from ops.core.plan import PROBES_ARE_HEALTHY
from ops.core.sequential_test import rounds_without_version
from ops.core.verdict import MaintenanceCheck, RateLimitCheck, WantedContent

UrlPath = Annotated[str, Field(pattern=URL_PATH)]
IgnorePatterns = tuple[RegularExpression, ...]
RequestHeaders = Mapping[Annotated[str, Field(pattern=HEADER)], SecretName]
SET_BY_US = frozenset({"connection", "content-length", "host", "te", "transfer-encoding", "upgrade"})


def _checked_probe_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    names = [name.lower() for name in headers]
    if kept := sorted(SET_BY_US.intersection(names)):
        raise ValueError(f"{kept[0]} is a header of the connection and cannot be set here; leave it out")
    if len({*names}) < len(names):
        raise ValueError("a header is given twice, because case does not matter; keep one")
    return headers


def request_headers_field() -> RequestHeaders:
    """Return the field for secret headers of a probe's requests."""
    text = "Header of the request → NAME of the environment variable with its value, such as an Access token."
    field: RequestHeaders = Field(default_factory=dict, description=text)
    return field


class HttpProbe(ConfigModel):
    """An HTTP request and conditions on its answer, all of which must hold."""

    path: str = Field(pattern=URL_PATH, description="Path below the service's url, with its query.")
    method: Literal["GET", "HEAD"] = Field(default="GET", description="GET or HEAD, because a probe changes nothing.")
    status: int = Field(default=200, ge=100, le=599, description="Status of the answer. Redirects are not followed.")
    json_: Mapping[JsonPath, JsonValue] = Field(
        default_factory=dict, alias="json", description="Path into the JSON answer (keys joined by dots) → its value."
    )
    cache_buster: bool = Field(
        default=True,
        description="Whether each request gets a unique query value, so that no cache answers it.",
    )
    request_headers: Annotated[RequestHeaders, AfterValidator(_checked_probe_headers)] = request_headers_field()
    headers: Mapping[Annotated[str, Field(pattern=HEADER)], Text] = Field(
        default_factory=dict, description="Header of the answer → text that its value must contain, in either case."
    )
    body: RegularExpression | None = Field(
        default=None, description="Regular expression (Python) that must match in the answer's body."
    )
    latency: Annotated[Seconds, between("1ms", "1m")] | None = Field(
        default=None, description="Longest time from the request to the end of the answer, such as 2s."
    )
    version: JsonPath | None = Field(
        default=None, description="Path into the JSON answer where the Worker echoes its version id."
    )

    @model_validator(mode="after")
    def _head_has_no_body(self) -> Self:
        if self.method == "HEAD" and (self.json_ or self.body is not None or self.version is not None):
            raise ValueError("an answer to HEAD has no body; write GET to check json, body or version")
        return self


class PageProbe(ConfigModel):
    """Pages of the service with their assets and links on its host: each answers 200 with its content type."""

    paths: tuple[UrlPath, ...] = Field(
        default=("/",), min_length=1, max_length=50, description="Paths of the pages below the service's url."
    )
    timeout: Annotated[Seconds, between("100ms", "5m")] = duration_field(
        "30s", "Time limit of all requests; a request that it prevents makes the verdict inconclusive."
    )
    request_headers: Annotated[RequestHeaders, AfterValidator(_checked_probe_headers)] = request_headers_field()
    ignore: IgnorePatterns = Field(
        default=(), description="Regular expressions; an asset or link is skipped if one matches in its URL."
    )


class FormFill(ConfigModel):
    """A field of a form and the variable with its value, which is a secret and never shown."""

    field: Text = Field(description="Playwright selector of the field, such as input[name=email].")
    variable: SecretName = Field(description="NAME of the environment variable that holds the value. Never the value.")


class BrowserStep(ConfigModel):
    """One step in the browser: exactly one of goto, fill, click, expect and wait."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    goto: UrlPath | None = Field(default=None, description="Open this path of the service.")
    fill: FormFill | None = Field(default=None, description="Fill a field from an environment variable.")
    click: Text | None = Field(default=None, description="Click the element of this Playwright selector.")
    expect: Text | None = Field(default=None, description="An element of this selector must be visible within 10 s.")
    wait: Annotated[Seconds, between("1ms", "30s")] | None = Field(default=None, description="Wait, such as 500ms.")

    @model_validator(mode="after")
    def _one_verb(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("a step is one of goto, fill, click, expect and wait; write exactly one of them")
        return self


class BrowserProbe(ConfigModel):
    """Pages in a real Chromium, which load without errors and failed requests; then steps, such as a login."""

    paths: tuple[UrlPath, ...] = Field(
        default=("/",), min_length=1, max_length=50, description="Paths of the pages to open, each in turn."
    )
    steps: tuple[BrowserStep, ...] = Field(
        default=(), max_length=50, description="Steps after the pages, one by one in one page."
    )
    required: bool = Field(
        default=False, description="Whether it must be healthy to prove a recovery (default: a failure is a warning)."
    )
    timeout: Annotated[Seconds, between("1s", "5m")] = duration_field(
        "30s", "Time limit; then the browser is ended and the verdict is inconclusive."
    )
    path: Text | None = Field(default=None, description="Program of the browser, if it is not on PATH.")
    ignore: IgnorePatterns = Field(
        default=(),
        description="Regular expressions; an error or failed request is ignored if one matches in its text.",
    )

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the variables whose values its steps fill in."""
        return tuple(dict.fromkeys(step.fill.variable for step in self.steps if step.fill))


class CommandProbe(ConfigModel):
    """A program whose exit code is the verdict: 0 healthy, 1 unhealthy, anything else inconclusive."""

    run: tuple[Text, ...] = Field(
        min_length=1, description="Program and arguments, run in the folder of ops.yml without a shell."
    )
    timeout: Annotated[Seconds, between("100ms", "10m")] = duration_field(
        "30s", "Time limit; then the program is ended and the verdict is inconclusive."
    )
    environment: tuple[SecretName, ...] = Field(
        default=(), description="Names of environment variables to pass on, besides PATH, HOME and LANG."
    )


CHECKS = ("http", "page", "browser", "command")


class Probe(ConfigModel):
    """One check of a service: `name`, and exactly one of `http`, `page`, `browser` and `command`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [kind]} for kind in CHECKS]})

    name: Name = Field(description="Name of the probe in plans and timelines.")
    http: HttpProbe | None = Field(default=None, description="A request to the service.")
    page: PageProbe | None = Field(default=None, description="Pages of the service, with their assets and links.")
    browser: BrowserProbe | None = Field(default=None, description="Pages of the service in a real Chromium.")
    command: CommandProbe | None = Field(default=None, description="A program on the machine that runs the recovery.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self.model_fields_set.intersection(CHECKS)) != 1:
            raise ValueError("a probe is one of http, page, browser and command; write exactly one of them")
        return self

    @property
    def secret_variables(self) -> tuple[str, ...]:
        """Return the variables with secret values: of headers, or of a browser's form fields."""
        if self.browser is not None:
            return self.browser.variables
        request = self.http or self.page
        return tuple(dict.fromkeys(request.request_headers.values())) if request else ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the names of all environment variables that the probe gets."""
        return self.command.environment if self.command else self.secret_variables


SUCCESSES = "Number of consecutive healthy rounds of all probes; more where no probe reads the version."


class VerificationRule(ConfigModel):
    """Rule for the probes that prove a recovery."""

    successes: int = Field(default=3, ge=1, le=100, description=SUCCESSES)
    interval: Annotated[Seconds, between("10ms", "1m")] = duration_field("1s", "Time from one round to the next.")
    deadline: Annotated[Seconds, between("1s", "1h")] = duration_field("2m", "Time limit of all rounds together.")
    usual_failures: float = Field(
        default=0.0,
        ge=0,
        le=0.3,
        description="Share of the rounds that failed before the bad deployment, such as 0.1: a watch compares with it.",
    )

    @model_validator(mode="after")
    def _rounds_fit(self) -> Self:
        if self.deadline < (least := self.successes * self.interval):
            every, deadline = unparse_duration(self.interval), unparse_duration(self.deadline)
            raise ValueError(
                f"{self.successes} successes {every} apart do not fit in {deadline}; "
                f"write a deadline of at least {unparse_duration(least)}"
            )
        return self

    @property
    def most_rounds(self) -> int:
        """Return how many rounds fit before the deadline."""
        return 1 + int(self.deadline / self.interval)

    @property
    def successes_without_version(self) -> int:
        """Return how many healthy rounds in a row prove a version that no answer names; they may not fit."""
        return max(self.successes, rounds_without_version(self.most_rounds))


@dataclass(frozen=True)
class ProbeSet:
    """Probes of a service, with its URL and the versions that may answer (empty: any)."""

    url: str
    probes: tuple[Probe, ...]
    verify: VerificationRule
    versions: frozenset[str] = frozenset()
    addresses: tuple[MaintenanceCheck, ...] = ()
    """Addresses on any host that must be in maintenance mode, or no longer."""
    name: str = ""
    """Name of the service, if several are probed together."""
    proofs: frozenset[str] = frozenset()
    """Names of probes that count only if the response names one of `versions`."""
    other_services: tuple["ProbeSet", ...] = ()
    """Other services that are probed in the same rounds."""
    limit: RateLimitCheck | None = None
    """A rate limit to prove once all else is healthy. It has no vote; a missing proof becomes a note."""
    unproved: str = ""
    """A fact that no probe can prove, even if all are healthy."""
    override: str = ""
    """Value of the header that asks Cloudflare for one version. A response that names none of `versions` then proves
    nothing, because a request whose override is not applied falls to the live version."""
    find_content: Callable[[], WantedContent | None] | None = None
    """Returns the wanted deployment of a site, or None if it is unknown. Called for the first cached answer of each
    probe and round."""
    deciding: str = ""
    """The probe that sees the change itself, also while the provider's API still returns the old state."""
    may_show_former: bool = False
    """Whether that probe may still see the former value: a location reads KV from its cache for a minute or longer."""

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is probed."""
        return not (self.addresses or self.all_probes)

    def needed_rounds(self, named: Collection[str | None] | None = None) -> int:
        """Return how many consecutive healthy rounds are enough.

        `named`: versions that the answers of a healthy round name; None: no answer yet, and the probes may read one.
        """
        told = (
            each.tells_version if named is None else not each.versions.isdisjoint(named)
            for each in self._sets_with_versions
        )
        return self.verify.successes if all(told) else self.verify.successes_without_version

    @property
    def tells_version(self) -> bool:
        """Return whether a probe reads which version answers."""
        return any(probe.http and probe.http.version for probe in self.probes)

    @property
    def _sets_with_versions(self) -> list["ProbeSet"]:
        """Return the sets that want certain versions and send requests; a program decides how often it asks."""
        sets = (self, *self.other_services)
        return [each for each in sets if each.versions and any(not probe.command for probe in each.probes)]

    @property
    def all_probes(self) -> list[tuple["ProbeSet", Probe]]:
        return [(each, probe) for each in (self, *self.other_services) for probe in each.probes]


def probes_claim(probes: Iterable[Probe]) -> str:
    """Return what it shows that all of these probes are healthy: nothing if there is none."""
    return PROBES_ARE_HEALTHY if any(True for _ in probes) else "no probe checks its health"


def join_probes(sets: Iterable[ProbeSet]) -> ProbeSet:
    """Return the first set, with the others in the same rounds."""
    first, *others = sets
    return replace(first, other_services=tuple(others))
