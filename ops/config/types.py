"""Types that models of `ops.yml` share, small models, and a message for each wrong value."""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    RootModel,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from ops.config.strict_yaml import MAX_PROBLEMS, ConfigProblem, KeyPath, YamlDocument, describe_type
from ops.core.clock import DURATION_PATTERN, parse_duration, unparse_duration
from ops.core.names import NAME_PATTERN, did_you_mean, quote_name

SWITCH = r"^[a-z][a-z0-9]{0,39}(-[a-z0-9]{1,20}){0,4}$"
RUNBOOK = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
PARAMETER = r"^[a-z][a-z0-9_]*$"
SECRET = r"^[A-Z][A-Z0-9_]{0,99}$"  # noqa: S105 - a pattern
ACCOUNT = r"^[0-9a-f]{32}$"
WORKER = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$"
PAGES = r"^[a-z0-9]([a-z0-9-]{0,56}[a-z0-9])?$"
ORIGIN = r"^https://([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?(:[1-9][0-9]{0,4})?$"
WEB_ADDRESS = r"^https://([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9](:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~%/-]*[A-Za-z0-9._~%-])?$"
REPOSITORY = r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$"
URL_PATH = r"^/([!-\"$-.0-~][!-\"$-~]*)?$"
BUILD_PATH = r"^(\.|\.?[A-Za-z0-9_-][A-Za-z0-9._-]*(/\.?[A-Za-z0-9_-][A-Za-z0-9._-]*)*)$"
CLASS = r"^[A-Za-z_$][A-Za-z0-9_$]{0,99}$"
JSON_PATH = r"^[^.\s]+(\.[^.\s]+)*$"
HEADER = r"^[A-Za-z0-9-]{1,100}$"
LOGIN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
LABEL = r"^\S(.{0,48}\S)?$"
BRANCH = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"
CRON = r"^[0-5]?[0-9] ([01]?[0-9]|2[0-3]) (([1-9]|1[0-9]|2[0-8]) \* \*|\* \* [0-6])$"
"""Once a month, until the 28th, or once a week."""
RUNNER_LABEL = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$"
RUNNER_GROUP = r"^[^\s$\x00-\x1f\x7f-\x9f]+( [^\s$\x00-\x1f\x7f-\x9f]+)*$"
"""GitHub reads `${{` in a value of a workflow as an expression, so a group's name has no `$`."""
STANDARD_RUNNER = re.compile(r"ubuntu-(latest|slim|\d\d\.\d\d)(-arm)?")
"""docs.github.com/actions/reference/runners/github-hosted-runners"""
ARCHIVE = r"^(https://[A-Za-z0-9.-]+|http://127\.0\.0\.1)(:[1-9][0-9]{0,4})?/[A-Za-z0-9._~%/{}-]+$"

SLACK_CHANNEL = r"^[CG][A-Z0-9]{8,20}$"
BUCKET = r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"
DATABASE_ID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
SQL_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"

PATTERNS = {
    CRON: 'not such a schedule; write "MINUTE HOUR DAY * *" with a day up to 28, or "MINUTE HOUR * * WEEKDAY"',
    DATABASE_ID: "not the id of a database; write the UUID that `wrangler d1 list` shows, in lower case",
    SLACK_CHANNEL: "not the id of a channel; write C or G with capitals and digits, as Slack shows it below a channel",
    BUCKET: "not an R2 bucket's name; write 3 to 63 lower-case letters, digits and -, as Cloudflare shows it",
    SQL_NAME: "not a name in SQL for this; write letters, digits and _, beginning with a letter or _",
    NAME_PATTERN: "not a name for this; write lower-case letters, digits, - and _, beginning with a letter",
    RUNBOOK: "not a runbook's name; write lower-case words with hyphens, such as rollback-worker",
    SWITCH: "not a name for this; write lower-case words with hyphens, such as session-do",
    PARAMETER: "not a parameter's name; write lower-case words with underscores, such as service",
    SECRET: "not a variable's name; write the NAME of the secret, such as CLOUDFLARE_API_TOKEN, never its value",
    ACCOUNT: "not an account id; write the 32 hexadecimal digits that Cloudflare's dashboard shows, in lower case",
    WORKER: "not a Worker's name; write it as Cloudflare shows it, such as fortunet-api",
    PAGES: "not a Pages project; write its name as Cloudflare shows it, such as fortunet-frontend",
    ORIGIN: "not an https origin; write https:// and a host, without user, path or query: https://api.example.com",
    WEB_ADDRESS: "not an address; write https://, a host and a path, without / at its end, query or #",
    REPOSITORY: "not a repository; write owner/name",
    URL_PATH: "not a path; begin with one / and leave out host, spaces and #: /health",
    BUILD_PATH: "not a folder in the repository; write it without / before it and without ..: frontend/dist",
    CLASS: "not a class; write it as the Worker exports it, such as AiMutexDO",
    JSON_PATH: "not a path into JSON; write keys joined by dots, such as version.id",
    HEADER: "not a header's name; write letters, digits and hyphens, such as content-type",
    LOGIN: "not a GitHub login; write it without @",
    LABEL: "not a label; write 1 to 50 characters without spaces around them",
    BRANCH: "not a branch; write its name without refs/heads/, such as main",
    RUNNER_LABEL: "not a label of runners; write letters, digits, dots, dashes and underscores",
    RUNNER_GROUP: "not a group of runners; write its name as GitHub shows it, on one line, without $",
    ARCHIVE: "not the address of an archive; write https://, a host and a path, without query or #",
}
M = TypeVar("M", bound=BaseModel)
_WANTED = {
    "model_type": 'write a mapping of "key: value" lines',
    "dict_type": 'write a mapping of "key: value" lines',
    "tuple_type": "write a list, such as [one, two]",
    "int_type": "write a whole number without quotes",
    "float_type": "write a number without quotes",
    "bool_type": "write true or false without quotes",
}
OFF = "off"


class ConfigModel(BaseModel):
    """Base of the models: frozen and strict, without unknown keys."""

    # The input may hold a secret in the wrong place, so no message of pydantic may show it. A validator for each model,
    # and not only for the whole of ops.yml, would take 12 ms in each command.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, defer_build=True)


def _never_a_value(name: str) -> str:
    """Reject values: some keys have only capitals and digits, and so match the pattern of names."""
    if len(name) >= 20 and "_" not in name and re.search("[0-9]", name):
        raise ValueError(PATTERNS[SECRET])
    return name


LONGEST_PLACE = 200


def looks_like_a_value(place: str) -> bool:
    """Return whether the place may be a token: Cloudflare's have 40 of these characters or more, ids in a URL fewer."""
    return bool(re.search("[A-Za-z0-9_-]{40}", place))


def _no_team(value: Any) -> Any:
    if isinstance(value, str) and "/" in value:
        raise ValueError("a team; the token of a job cannot read its members, so write the logins of its people")
    return value


def _require_secret_place(place: str) -> str:
    if looks_like_a_value(place):
        raise ValueError(
            "perhaps a value; write the place where people find it, such as 1Password: cloudflare-recovery"
        )
    return place


def _single_value(value: Any) -> Any:
    if isinstance(value, dict | tuple):
        raise ValueError(f"{describe_type(value)}; write one value")  # noqa: TRY004 - pydantic collects these
    return value


def _parameter_value(value: Any) -> Any:
    if isinstance(value, float | dict | None) or (
        isinstance(value, tuple) and not all(isinstance(v, str) for v in value)
    ):
        raise ValueError(f"{describe_type(value)}; write text, a whole number, true, false or a list of texts")
    return value


def _unbracket_text(value: Any) -> Any:
    """Return `[TBD]` as text, which YAML without quotes reads as a list."""
    return f"[{value[0]}]" if isinstance(value, tuple) and [*map(type, value)] == [str] else value


def _require_regular_expression(value: str) -> str:
    try:
        with warnings.catch_warnings(action="error"):
            re.compile(value)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"not a regular expression ({quote_name(str(error))}); write one for Python") from None
    return value


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Login = Annotated[str, BeforeValidator(_no_team), Field(pattern=LOGIN)]
RunnerLabel = Annotated[str, Field(pattern=RUNNER_LABEL)]
RunnerGroup = Annotated[str, Field(pattern=RUNNER_GROUP, max_length=100)]
RunbookName = Annotated[str, Field(pattern=RUNBOOK)]
SecretName = Annotated[str, Field(pattern=SECRET), AfterValidator(_never_a_value)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
TokenLocation = Annotated[str, Field(min_length=1, max_length=LONGEST_PLACE), AfterValidator(_require_secret_place)]
RegularExpression = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_require_regular_expression)]
JsonPath = Annotated[str, Field(pattern=JSON_PATH)]
ContactText = Annotated[Text, BeforeValidator(_unbracket_text)]
JsonValue = Annotated[
    str | int | float | bool | None,
    BeforeValidator(_single_value),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]
ParameterValue = Annotated[str | int | bool | tuple[str, ...], BeforeValidator(_parameter_value)]


def between(least: str, most: str) -> AfterValidator:
    """Return a validator for a field of type `Seconds` with these bounds, both included."""
    bounds = parse_duration(least), parse_duration(most)

    def check_duration(duration: float) -> float:
        if not bounds[0] <= duration <= bounds[1]:
            raise ValueError(f"{unparse_duration(duration)} is out of range; write {least} to {most}")
        return duration

    return AfterValidator(check_duration)


def _read_duration(value: Any) -> Any:
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
        raise ValueError("a number without a unit; write 10s or 10m")  # noqa: TRY004 - pydantic collects ValueErrors
    return parse_duration(value if isinstance(value, str) else "")


Seconds = Annotated[
    float,
    BeforeValidator(_read_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{DURATION_PATTERN.pattern}$"}),
]


def duration_field(default: str, description: str, alias: str | None = None) -> Any:
    """Return a field whose default is a duration text, which the JSON Schema shows too."""
    shown: dict[str, Any] = {"default": default}
    return Field(default=parse_duration(default), alias=alias, description=description, json_schema_extra=shown)


class BuildConfig(ConfigModel):
    """Build of a commit into a site. Only `command` installs anything."""

    folder: str = Field(default=".", pattern=BUILD_PATH, description="Folder of the repository to build in.")
    command: tuple[Text, ...] = Field(
        min_length=1, description="Program and arguments, run in `folder` without a shell."
    )
    output: str = Field(default="dist", pattern=BUILD_PATH, description="Folder with the built site, below `folder`.")
    functions: str = Field(
        default="functions", pattern=BUILD_PATH, description="Folder of Pages Functions, below `folder`."
    )
    env: Mapping[SecretName, Annotated[str, Field(max_length=1000)]] = Field(
        default_factory=dict, description="Variables of the build and their values, which are not secrets."
    )
    timeout: Annotated[Seconds, between("1s", "20m")] = duration_field("10m", "Time limit of the build.")


class ConfigSchemaGenerator(GenerateJsonSchema):
    """JSON Schema without null, because a key may be omitted but not empty; without titles, which repeat keys."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        result = super().default_schema(schema)
        return {key: value for key, value in result.items() if key != "default" or value not in (None, "")}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        return super().dict_schema(schema) | {"additionalProperties": False}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


class Contact(ConfigModel):
    """A person or team to call. A text in brackets, such as [TBD], is a placeholder."""

    role: ContactText = Field(description="Reason to call the contact.")
    contact: ContactText = Field(description="Name, number or link.")
    availability: ContactText = Field(description="Hours of the contact, such as 24/7.")

    @property
    def is_named(self) -> bool:
        """Whether the placeholder is filled in."""
        return not (self.contact[:1] == "[" and self.contact[-1:] == "]")

    def __str__(self) -> str:
        return f"{self.role}: {self.contact} ({self.availability})"


LONGEST_WATCH, LEAST_EXTENDED = 7200.0, 1200.0
"""Seconds of the longest watch, whose state fits into a hidden record; and of the shortest one that was extended."""


def extend_watch(seconds: float) -> float:
    """Return the length of a watch that is extended once because its evidence was thin."""
    return min(LONGEST_WATCH, max(2 * seconds, LEAST_EXTENDED))


class WatchConfig(ConfigModel):
    """Watch of a service after a recovery that changed it. Short forms: `watch: 1h`, `watch: "off"`."""

    duration: Annotated[Seconds, between("2m", "2h")] = duration_field(
        "30m",
        "Length, 2m to 2h; doubled, to 20m at least, if the evidence is thin. GitHub bills it in a private repository.",
        alias="for",
    )
    on_relapse: Literal["notify", "next"] = Field(
        default="notify",
        description="`notify` people only, or `next`: a job rolls a Worker back to the next older version too.",
    )
    max_steps: int = Field(
        default=1, strict=True, ge=1, le=3, description="Most automatic steps of one incident, 1 to 3."
    )


class _ShortForms:
    """Add the short forms to the JSON Schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        duration = {"type": "string", "pattern": f"^{DURATION_PATTERN.pattern}$"}
        return {"anyOf": [duration, {"const": OFF}, {"const": False}, handler(schema)]}


def _long_form(value: Any) -> Any:
    """Return the mapping that a short form stands for; None for off."""
    if value is False or value == OFF:
        return None
    if isinstance(value, str):
        return {"for": value}
    if not isinstance(value, dict):
        raise ValueError(f'{describe_type(value)}; write a duration such as 30m, or "off"')  # noqa: TRY004 - pydantic
    return value


WatchSetting = Annotated[WatchConfig | None, BeforeValidator(_long_form), _ShortForms()]
"""None: no recovery is watched."""


class _LabelForm:
    """Add one label as text to the JSON Schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "pattern": RUNNER_LABEL}, handler(schema)]}


def _runner_labels(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, tuple):
        raise ValueError(f"{describe_type(value)}; write a label, such as ubuntu-latest, or a list of labels")  # noqa: TRY004 - pydantic
    return value


RunnerLabels = Annotated[tuple[RunnerLabel, ...], Field(max_length=10), BeforeValidator(_runner_labels), _LabelForm()]


class RunnerConfig(ConfigModel):
    """Runners on Linux that take the jobs. Short forms: `runs_on: my-label`, `runs_on: [self-hosted, my-label]`."""

    labels: RunnerLabels = Field(default=(), description="A label, or a list of labels: a runner needs all of them.")
    group: RunnerGroup | None = Field(default=None, description="Group of runners (default: any).")

    @model_validator(mode="after")
    def _check_runner_choice(self) -> Self:
        if not self.labels and self.group is None:
            raise ValueError("no runner; write a label, such as ubuntu-latest, or a group")
        return self

    @property
    def is_standard(self) -> bool:
        """Whether it is a runner of GitHub by its label, and not a larger or self-hosted one."""
        return self.group is None and len(self.labels) == 1 and STANDARD_RUNNER.fullmatch(self.labels[0]) is not None


class _RunnerForms:
    """Add the short forms to the JSON Schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        label = {"type": "string", "pattern": RUNNER_LABEL}
        return {"anyOf": [label, {"type": "array", "items": label}, handler(schema)]}


def _read_runner(value: Any) -> Any:
    if isinstance(value, str | tuple):
        return {"labels": value}
    if not isinstance(value, dict):
        raise ValueError(f"{describe_type(value)}; write a label, such as ubuntu-latest, a list of labels, or a group")  # noqa: TRY004 - pydantic
    return value


def standard_runner() -> RunnerConfig:
    return RunnerConfig(labels=("ubuntu-latest",))


RunnerSetting = Annotated[RunnerConfig, BeforeValidator(_read_runner), _RunnerForms()]


def build_model(
    root: type[M], document: YamlDocument, findings: Iterable[tuple[KeyPath, str]]
) -> tuple[M | None, list[ConfigProblem]]:
    """Return the model or None, and every problem.

    At each place the first problem is kept, because the reader's is closest to the cause. `findings` are the problems
    across models.
    """
    model, errors = _validate_document(root, document)
    problems: dict[tuple[int, KeyPath], ConfigProblem] = {}
    checked = (ConfigProblem(document.line(where), where, text) for where, text in findings)
    modelled = (_config_problem(root, document, error) for error in errors)
    for problem in chain(document.problems, checked, modelled):
        if len(problems) == MAX_PROBLEMS:
            last = max(line for line, _ in problems)
            return None, [*problems.values(), ConfigProblem(last, (), "too many problems; the rest is not listed")]
        problems.setdefault((problem.line, problem.path), problem)
    return model, list(problems.values())


def _validate_document(root: type[M], document: YamlDocument) -> tuple[M | None, list[ErrorDetails]]:
    if not document.complete:
        return None, []
    try:
        return root.model_validate(document.data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    # pydantic counts valid items only, so it calls a list of invalid items too short.
    return None, [detail for detail in details if detail["type"] != "too_short" or not detail["input"]]


def format_problems(path: str, problems: Iterable[ConfigProblem]) -> tuple[str, ...]:
    """Return the problems in the order of the file, each like `ops.yml:14 labels.x.runbook: missing; add it`."""
    ordered = sorted(problems, key=lambda problem: problem.line)
    return tuple(f"{path}:{line}{_problem_place(where)}: {text}" for line, where, text in ordered)


def _problem_place(path: KeyPath) -> str:
    steps = (f"[{part}]" if isinstance(part, int) else f".{quote_name(part)}" for part in path)
    return f" {''.join(steps).removeprefix('.')}" if path else ""


def _config_problem(root: type[BaseModel], document: YamlDocument, error: ErrorDetails) -> ConfigProblem:
    path = tuple(part for part in error["loc"] if part != "[key]")  # pydantic's mark for an error in a key itself
    return ConfigProblem(document.line(path), path, _problem_sentence(root, error))


def _problem_sentence(root: type[BaseModel], error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    what = describe_type(error["input"])
    match error["type"]:
        case "missing":
            return "missing; add it"
        case "extra_forbidden":
            return f"unknown key{did_you_mean(str(error['loc'][-1]), _keys_at(root, error['loc'][:-1]))}"
        case "value_error":
            return str(context["error"])
        case "string_pattern_mismatch":
            return PATTERNS[context["pattern"]]
        case "string_type":
            return f"{what}; {'put quotes around it' if isinstance(error['input'], (int, float)) else 'write text'}"
        case "string_too_short":
            return "empty; write text"
        case "too_short":
            return "empty; write at least one"
        case "string_too_long":
            return f"too long; write at most {context['max_length']} characters"
        case "greater_than_equal":
            return f"too small; write {context['ge']} or more"
        case "less_than_equal":
            return f"too large; write {context['le']} or less"
        case "literal_error":
            return f"unknown value; write {context['expected'].replace(chr(39), '')}"
        case other:
            return f"{what}; {_WANTED.get(other, 'see `ops config schema`')}"


def _keys_at(root: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys of the model at `path`."""
    model, containers = root, 0
    if issubclass(root, RootModel):
        annotation = root.model_fields["root"].annotation
        model, containers = next(_models_within(annotation)), _container_depth(annotation)
    for part in path:
        if containers:  # a key of a mapping or an index of a list, not a field
            containers -= 1
            continue
        field = next(field for key, field in _model_fields(model) if key == part)
        model = next(_models_within(field.annotation))
        containers = _container_depth(field.annotation)
    return [key for key, _ in _model_fields(model)]


def _container_depth(annotation: Any) -> int:
    """Return the nesting depth of containers: a mapping of lists is two."""
    inside = {Mapping: 1, tuple: 0}.get(get_origin(annotation))
    return 0 if inside is None else 1 + _container_depth(get_args(annotation)[inside])


def _model_fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    return ((field.alias or name, field) for name, field in model.model_fields.items())


def _models_within(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_within(argument)
