"""What `ops.yml` says about the probes that ask a service: `http`, `page`, `browser` and `command`."""

from collections.abc import Mapping
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

UrlPath = Annotated[str, Field(pattern=URL_PATH)]
IgnorePatterns = tuple[RegularExpression, ...]
RequestHeaders = Mapping[Annotated[str, Field(pattern=HEADER)], SecretName]
SET_BY_US = frozenset({"connection", "content-length", "host", "te", "transfer-encoding", "upgrade"})


def _checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    names = [name.lower() for name in headers]
    if kept := sorted(SET_BY_US.intersection(names)):
        raise ValueError(f"{kept[0]} belongs to the connection and cannot be set here; leave it out")
    if len({*names}) < len(names):
        raise ValueError("one header is named twice, since upper and lower case are the same; name it once")
    return headers


def request_headers_field() -> RequestHeaders:
    """Return the field of a probe whose requests carry secret headers."""
    text = "Header of the request → NAME of the environment variable with its value, such as a service token of Access."
    field: RequestHeaders = Field(default_factory=dict, description=text)
    return field


class HttpProbe(ConfigModel):
    """An HTTP request and what its answer must be. Everything given must hold."""

    path: str = Field(pattern=URL_PATH, description="Path under the service's url, with its query.")
    method: Literal["GET", "HEAD"] = Field(default="GET", description="GET or HEAD: a probe changes nothing.")
    status: int = Field(default=200, ge=100, le=599, description="The answer's status. Redirects are not followed.")
    json_: Mapping[JsonPath, JsonValue] = Field(
        default_factory=dict, alias="json", description="Path into the JSON answer (keys joined by dots) → its value."
    )
    request_headers: Annotated[RequestHeaders, AfterValidator(_checked_headers)] = request_headers_field()
    headers: Mapping[Annotated[str, Field(pattern=HEADER)], Text] = Field(
        default_factory=dict, description="Header of the answer → text that its value must contain, in either case."
    )
    body: RegularExpression | None = Field(
        default=None, description="Regular expression (Python's) to be found somewhere in the answer's body."
    )
    latency: Annotated[Seconds, between("1ms", "1m")] | None = Field(
        default=None, description="Longest time from sending the request to the end of the answer, such as 2s."
    )
    version: JsonPath | None = Field(
        default=None, description="Path into the JSON answer where the Worker echoes the id of its own version."
    )

    @model_validator(mode="after")
    def _head_has_no_body(self) -> Self:
        if self.method == "HEAD" and (self.json_ or self.body is not None or self.version is not None):
            raise ValueError("HEAD is answered without a body; write GET to check json, body or version")
        return self


class PageProbe(ConfigModel):
    """Pages of the service, and all that they name on its host: each must answer 200, with the right content type."""

    paths: tuple[UrlPath, ...] = Field(
        default=("/",), min_length=1, max_length=50, description="Paths of the pages under the service's url."
    )
    timeout: Annotated[Seconds, between("100ms", "5m")] = duration_field(
        "30s", "All requests together. What was not asked by then makes the verdict inconclusive."
    )
    request_headers: Annotated[RequestHeaders, AfterValidator(_checked_headers)] = request_headers_field()
    ignore: IgnorePatterns = Field(
        default=(), description="Regular expressions: an asset or a link is not asked if one is found in its URL."
    )


class FormFill(ConfigModel):
    """A form's field and the variable whose value goes into it. The value is a secret, and is shown nowhere."""

    field: Text = Field(description="Playwright's selector of the field, such as input[name=email].")
    variable: SecretName = Field(description="NAME of the environment variable that holds the value. Never the value.")


class BrowserStep(ConfigModel):
    """One step in the browser: exactly one of goto, fill, click, expect and wait."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    goto: UrlPath | None = Field(default=None, description="Open this path of the service.")
    fill: FormFill | None = Field(default=None, description="Fill a field from an environment variable.")
    click: Text | None = Field(default=None, description="Click what this selector of Playwright's names.")
    expect: Text | None = Field(default=None, description="Within 10 s this selector must show something visible.")
    wait: Annotated[Seconds, between("1ms", "30s")] | None = Field(default=None, description="Wait, such as 500ms.")

    @model_validator(mode="after")
    def _one_verb(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("a step is one of goto, fill, click, expect and wait; write exactly one of them")
        return self


class BrowserProbe(ConfigModel):
    """Pages in a real Chromium: they load, log no error and miss no request; then steps, such as those of a login."""

    paths: tuple[UrlPath, ...] = Field(
        default=("/",), min_length=1, max_length=50, description="Paths of the pages to open, each in turn."
    )
    steps: tuple[BrowserStep, ...] = Field(
        default=(), max_length=50, description="Afterwards, in one page, one by one."
    )
    required: bool = Field(
        default=False, description="Whether a recovery is proved only with it. Otherwise a failure is a warning."
    )
    timeout: Annotated[Seconds, between("1s", "5m")] = duration_field(
        "30s", "All together. After this time the browser is ended, and the verdict is inconclusive."
    )
    path: Text | None = Field(default=None, description="The browser's program, where it is not found on PATH.")
    ignore: IgnorePatterns = Field(
        default=(),
        description="Regular expressions: an error or a failed request is passed over if one is found in its text.",
    )

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables that its steps fill in."""
        return tuple(dict.fromkeys(step.fill.variable for step in self.steps if step.fill))


class CommandProbe(ConfigModel):
    """A program whose exit code is the verdict: 0 healthy, 1 unhealthy, anything else inconclusive."""

    run: tuple[Text, ...] = Field(
        min_length=1, description="The program and its arguments, from the folder of ops.yml. No shell reads them."
    )
    timeout: Annotated[Seconds, between("100ms", "10m")] = duration_field(
        "30s", "After this time the program is ended, and the verdict is inconclusive."
    )
    environment: tuple[SecretName, ...] = Field(
        default=(), description="Names of environment variables to pass on besides PATH, HOME and LANG."
    )


CHECKS = ("http", "page", "browser", "command")


class Probe(ConfigModel):
    """One check of a service: `name`, and exactly one of `http`, `page`, `browser` and `command`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [kind]} for kind in CHECKS]})

    name: Name = Field(description="How the probe is called in plans and timelines.")
    http: HttpProbe | None = Field(default=None, description="A request to the service.")
    page: PageProbe | None = Field(default=None, description="Pages of the service, with their assets and links.")
    browser: BrowserProbe | None = Field(default=None, description="Pages of the service in a real Chromium.")
    command: CommandProbe | None = Field(default=None, description="A program on the machine that recovers.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self.model_fields_set.intersection(CHECKS)) != 1:
            raise ValueError("a probe is one of http, page, browser and command; write exactly one of them")
        return self

    @property
    def secret_variables(self) -> tuple[str, ...]:
        """Names of the variables whose values are secrets: those of headers, and those that a browser fills in."""
        if self.browser is not None:
            return self.browser.variables
        asked = self.http or self.page
        return tuple(dict.fromkeys(asked.request_headers.values())) if asked else ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of all variables that it sees."""
        return self.command.environment if self.command else self.secret_variables
