"""What `ops.yml` says about the two probes that look at a site as a visitor's browser does: `page` and `browser`."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from ops.model.config_types import URL_PATH, Model, RegularExpression, SecretName, Text
from ops.model.duration import Seconds, between, duration_field

UrlPath = Annotated[str, Field(pattern=URL_PATH)]
Ignored = tuple[RegularExpression, ...]


class PageProbe(Model):
    """Pages of the service, and all that they name on its host: each must answer 200, with the right content type."""

    paths: tuple[UrlPath, ...] = Field(
        default=("/",), min_length=1, max_length=50, description="Paths of the pages under the service's url."
    )
    timeout: Annotated[Seconds, between("100ms", "5m")] = duration_field(
        "30s", "All requests together. What was not asked by then makes the verdict inconclusive."
    )
    ignore: Ignored = Field(
        default=(), description="Regular expressions: an asset or a link is not asked if one is found in its URL."
    )


class Fill(Model):
    """A form's field and the variable whose value goes into it. The value is a secret, and is shown nowhere."""

    field: Text = Field(description="Playwright's selector of the field, such as input[name=email].")
    variable: SecretName = Field(description="NAME of the environment variable that holds the value. Never the value.")


class Step(Model):
    """One step in the browser: exactly one of goto, fill, click, expect and wait."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    goto: UrlPath | None = Field(default=None, description="Open this path of the service.")
    fill: Fill | None = Field(default=None, description="Fill a field from an environment variable.")
    click: Text | None = Field(default=None, description="Click what this selector of Playwright's names.")
    expect: Text | None = Field(default=None, description="Within 10 s this selector must show something visible.")
    wait: Annotated[Seconds, between("1ms", "30s")] | None = Field(default=None, description="Wait, such as 500ms.")

    @model_validator(mode="after")
    def _one_verb(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("a step is one of goto, fill, click, expect and wait; write exactly one of them")
        return self


class BrowserProbe(Model):
    """Pages in a real Chromium: they load, log no error and miss no request; then steps, such as those of a login."""

    paths: tuple[UrlPath, ...] = Field(
        default=("/",), min_length=1, max_length=50, description="Paths of the pages to open, each in turn."
    )
    steps: tuple[Step, ...] = Field(default=(), max_length=50, description="Afterwards, in one page, one by one.")
    required: bool = Field(
        default=False, description="Whether a recovery is proved only with it. Otherwise a failure is a warning."
    )
    timeout: Annotated[Seconds, between("1s", "5m")] = duration_field(
        "30s", "All together. After this time the browser is ended, and the verdict is inconclusive."
    )
    path: Text | None = Field(default=None, description="The browser's program, where it is not found on PATH.")
    ignore: Ignored = Field(
        default=(),
        description="Regular expressions: an error or a failed request is passed over if one is found in its text.",
    )

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables that its steps fill in."""
        return tuple(dict.fromkeys(step.fill.variable for step in self.steps if step.fill))
