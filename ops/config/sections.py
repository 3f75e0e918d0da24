"""Sections of `ops.yml` as models: databases, Durable Objects, runtime, secrets, GitHub.

Secrets are names, never values. Limits and switches: docs/reference/runtime-contract.md.
"""

import re
import string
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, field_validator, model_validator

from ops.config.probes import HttpProbe, Probe, UrlPath
from ops.config.types import (
    ACCOUNT,
    ARCHIVE,
    BRANCH,
    BUCKET,
    BUILD_PATH,
    CLASS,
    DATABASE_ID,
    REPOSITORY,
    SQL_NAME,
    SWITCH,
    WEB_ADDRESS,
    ConfigModel,
    JsonPath,
    JsonValue,
    Login,
    Name,
    RunnerSetting,
    Seconds,
    SecretName,
    Text,
    TokenLocation,
    between,
    duration_field,
    standard_runner,
)
from ops.core.errors import ConfigError, Refused
from ops.core.migrations_folder import DEFAULT_PATTERN, DEFAULT_TABLE, DOWN, MigrationsFolder, find_pattern_problem
from ops.core.sql import is_read_only

SqlName = Annotated[str, Field(pattern=SQL_NAME)]
MigrationName = Annotated[str, Field(min_length=1, max_length=255, description="Name of its file.")]
SwitchName = Annotated[str, Field(pattern=SWITCH)]
FEWEST_CHARACTERS = 16
Address = Annotated[str, Field(pattern=WEB_ADDRESS, max_length=300)]
ActingEnvironment = Literal["recovery", "security", "database"]
"""A GitHub environment with the secrets of jobs that make changes."""
ScheduledTask = Literal["ai-failback", "doctor", "guard", "reconcile-limits", "reopen-maintenance", "watch"]
"""A task that a schedule can start."""
ScheduleInterval = Literal["5m", "10m", "15m", "20m", "30m", "1h", "2h", "3h", "4h", "6h", "8h", "12h", "24h", "7d"]
"""Intervals that a cron line can express, from GitHub's shortest."""


def interval_length(every: ScheduleInterval) -> timedelta:
    """Return the length of a schedule's interval."""
    unit = {"m": "minutes", "h": "hours", "d": "days"}[every[-1]]
    return timedelta(**{unit: int(every[:-1])})


class RowBounds(ConfigModel):
    """Expected number of rows of a table after a restore, and whether rows that it loses are kept."""

    at_least: int = Field(default=0, ge=0, description="Fewest rows.")
    at_most: int | None = Field(default=None, ge=0, description="Most rows (default: no limit).")
    keep: bool = Field(
        default=False,
        description="Whether a restore keeps the rows that it loses (docs/how-to/keep-lost-rows.md).",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most {self.at_most} is below at_least {self.at_least}; swap them")
        return self


class DatabaseQuery(ConfigModel):
    """A query whose first value must be the expected one."""

    name: Name = Field(description="Name of the check.")
    sql: str = Field(min_length=1, max_length=10_000, description="One SELECT.")
    expect: JsonValue = Field(description="Expected value in the first column of the first row.")

    @field_validator("sql")
    @classmethod
    def _check_query_reads(cls, sql: str) -> str:
        if not is_read_only(sql):
            raise ValueError("not a query that provably only reads; write one SELECT")
        return sql


class Database(ConfigModel):
    """A D1 database that restore-database can restore."""

    id: str = Field(pattern=DATABASE_ID, description="Id of the database on Cloudflare.")
    services: tuple[Name, ...] = Field(min_length=1, description="Services of this environment that use it.")
    repository: str | None = Field(
        default=None, pattern=REPOSITORY, description="Repository of the migrations (default: this one)."
    )
    migrations: str | None = Field(
        default=None,
        pattern=BUILD_PATH,
        description="Folder of the migrations in it; the down files are in `down`, beside.",
    )
    migrations_pattern: str = Field(
        default=DEFAULT_PATTERN, description="Pattern of the migrations in that folder, as in the wrangler file."
    )
    migrations_table: SqlName = Field(
        default=DEFAULT_TABLE, description="Table in which wrangler records applied migrations."
    )
    created: Mapping[SqlName, SqlName] = Field(
        default_factory=dict,
        description="Table → column with the time at which a row was added: text, Unix seconds or milliseconds.",
    )
    rows: Mapping[SqlName, RowBounds] = Field(
        default_factory=dict, description="Table → its expected number of rows after a restore, and what is kept."
    )
    queries: tuple[DatabaseQuery, ...] = Field(default=(), description="Further checks after a restore.")
    guard: bool = Field(
        default=False,
        description="Whether deployments apply migrations with `ops hold migrate`, which refuses held ones.",
    )
    breaking: tuple[MigrationName, ...] = Field(
        default=(), description="Migrations with which older code does not work; rollback-worker refuses to cross them."
    )
    probes: tuple[Probe, ...] = Field(
        default=(),
        description="Probes of the first service that need this database; only its runbooks run them.",
    )
    two_people: Literal["default", "strict"] = Field(
        default="default", description="Whether --one-person may replace the second person: default (yes) or strict."
    )

    @field_validator("migrations_pattern")
    @classmethod
    def _check_migrations_pattern(cls, pattern: str) -> str:
        if problem := find_pattern_problem(pattern):
            raise ValueError(f"{problem}; write a pattern such as {DEFAULT_PATTERN}")
        return pattern

    @model_validator(mode="after")
    def _no_down_file_is_a_migration(self) -> Self:
        names = ("0001_x.sql", "0001_x/migration.sql") if self.migrations else ()
        try:
            for name in names:
                self.require_migrations("").find_down_path(name)
        except Refused as error:
            raise ValueError(f"{error.message}; {error.hint[0].lower()}{error.hint[1:-1]}") from None
        return self

    @property
    def kept_tables(self) -> tuple[str, ...]:
        """Return the tables of which a restore keeps the rows that it loses."""
        return tuple(table for table, each in self.rows.items() if each.keep)

    def require_migrations(self, name: str) -> MigrationsFolder:
        """Return the place of the migrations. Raises ConfigError if it is missing; `name` is that of the database."""
        if self.migrations is None:
            raise ConfigError(
                f"database {name} has no `migrations` in ops.yml",
                hint=f"Add `migrations: FOLDER` to {name}; its down files are in the folder {DOWN}, beside.",
            )
        return MigrationsFolder(self.migrations, self.migrations_table, self.migrations_pattern)


class KeptRowsStore(ConfigModel):
    """The private R2 bucket in which jobs keep rows that a restore loses (docs/how-to/keep-lost-rows.md)."""

    bucket: str = Field(pattern=BUCKET, description="Name of an R2 bucket of this account, without a public domain.")
    jurisdiction: Literal["default", "eu", "us", "fedramp", "fedramp-high"] = Field(
        default="default", description="Jurisdiction of the bucket."
    )


class DurableObject(ConfigModel):
    """A Durable Object and its endpoints, which need a token (docs/how-to/reset-durable-object.md)."""

    class_: str = Field(alias="class", pattern=CLASS, description="Class that the Worker exports.")
    reset: UrlPath | None = Field(
        default=None,
        description="Path where a POST clears the object's memory, and nothing else.",
    )
    state: UrlPath | None = Field(default=None, description="Path where a GET returns its memory and storage as JSON.")
    token: SecretName | None = Field(
        default=None,
        description="NAME of the environment variable that holds the application's token. Never the token.",
    )
    token_location: TokenLocation | None = Field(
        default=None, description="Place where people find that token. Shown on incidents."
    )
    proof: JsonPath | None = Field(
        default=None,
        description="JSON path in `state` to a number in memory that starts at 0, or a text that each start generates.",
    )
    keeps: JsonPath | None = Field(
        default=None, description="JSON path in `state` to a stored value that a reset must keep."
    )
    probes: tuple[Probe, ...] = Field(
        default=(),
        description="Probes that show whether it is stuck; only its reset runs them, besides the service's probes.",
    )

    @model_validator(mode="after")
    def _check_object_endpoints(self) -> Self:
        if (self.reset or self.state) and self.token is None:
            raise ValueError("its endpoints need a token; write the NAME of its variable under token")
        if (self.state is None) != (self.proof is None):
            raise ValueError("state and proof belong together; write both or neither")
        if self.keeps and self.state is None:
            raise ValueError("keeps is read from state; write state, or leave keeps out")
        return self


DurableObjects = Annotated[
    Mapping[Name, DurableObject],
    Field(description="Durable Objects that reset-durable-object can reset or read one by one, by name."),
]


class LimitRaise(ConfigModel):
    """The value that a button or label proposes for one limit; no issue's text can change it."""

    limit: int = Field(ge=1, le=1_000_000, description="Temporary number of requests within the period.")
    lasts: Annotated[Seconds, between("1m", "336h")] = duration_field(
        "4h", "Duration of the temporary value, at most 14 days."
    )


class LimitsConfig(ConfigModel):
    """The limits that `limits.yml` may hold; only that file has their values."""

    names: tuple[SwitchName, ...] = Field(min_length=1, max_length=1000, description="Limits that the code declares.")
    enforce: bool = Field(
        default=False,
        description="Whether reconcile restores the values of limits.yml a day after it reported a difference.",
    )
    raises: Mapping[SwitchName, LimitRaise] = Field(
        default_factory=dict, description="Limit → value that propose-limits proposes."
    )


class SwitchConfig(ConfigModel):
    """A switch that the application knows; its first state is the normal one."""

    states: tuple[SwitchName, ...] = Field(
        default=("on", "off"), min_length=2, max_length=20, description="Possible states, the normal one first."
    )
    on_unknown: SwitchName | None = Field(
        default=None, description="State that the application assumes if it never read the switch (default: normal)."
    )
    longest: Annotated[Seconds, between("1m", "720h")] = duration_field(
        "4h", "Longest time that it stays set; also the default."
    )
    effect: Mapping[SwitchName, Text] = Field(
        default_factory=dict, description="State → its effect, shown in the plan."
    )
    probes: tuple[Probe, ...] = Field(
        default=(),
        description="Probes that show whether it helps; a run that sets it adds them to the service's probes.",
    )

    @property
    def normal(self) -> str:
        """Return the normal state."""
        return self.states[0]

    @model_validator(mode="after")
    def _check_switch_states(self) -> Self:
        if len(set(self.states)) < len(self.states):
            raise ValueError("a state is listed twice; keep one")
        if unknown := {*self.effect, *filter(None, [self.on_unknown])} - {*self.states}:
            raise ValueError(f"unknown state {', '.join(sorted(unknown))}; write one of {', '.join(self.states)}")
        return self


class AiConfig(ConfigModel):
    """AI providers of the application: their order, keys and failback. Their switch is `ai`."""

    order: tuple[SwitchName, ...] = Field(
        min_length=1, max_length=10, description="Providers, the preferred one first."
    )
    keys: Mapping[SwitchName, str] = Field(
        default_factory=dict, description="Provider → secret under `secrets` whose `provider` a paid probe calls."
    )
    fail_back: Annotated[Seconds, between("5m", "24h")] = duration_field(
        "15m", "Time that the preferred provider must be healthy before an override ends."
    )
    message: Text = Field(
        default="AI interpretations temporarily unavailable", description="Message for users while AI is off."
    )


class GuardConfig(ConfigModel):
    """Guard of each deployment of a service, by `ops guard`."""

    duration: Annotated[Seconds, between("10m", "1h")] = duration_field(
        "10m", "Length of the guard from the deployment on, 10m to 1h.", alias="for"
    )
    on_bad: Literal["report", "rollback"] = Field(
        default="report",
        description="`report` a bad deployment on an incident only, or `rollback`: roll a Worker back too, "
        "if its probes and Cloudflare's figures both show it.",
    )

    @property
    def length(self) -> timedelta:
        return timedelta(seconds=self.duration)


class RuntimeConfig(ConfigModel):
    """A Worker that reads `ops/…` keys of a KV namespace and reports the values in effect at /__ops/runtime."""

    service: Name = Field(description="Service that reads them.")
    namespace: str = Field(pattern=ACCOUNT, description="Id of the KV namespace: 32 hexadecimal digits.")
    settle: Annotated[Seconds, between("1s", "10m")] = duration_field(
        "90s", "Longest time until the public endpoint shows a new value."
    )
    limits: LimitsConfig | None = Field(default=None, description="Its limits, for limits.yml.")
    switches: Mapping[SwitchName, SwitchConfig] = Field(default_factory=dict, description="Its switches, by name.")
    ai: AiConfig | None = Field(default=None, description="Its AI providers, for ai-failover.")


def _require_various_characters(alphabet: str) -> str:
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
    alphabet: Annotated[str, AfterValidator(_require_various_characters)] = Field(
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
    def _check_secret_rotation(self) -> Self:
        if self.rotate == "generate" and self.provider is not None:
            raise ValueError("a provider does not accept generated keys; write rotate: provided, or leave provider out")
        if self.rotate != "never" and not self.consumers:
            raise ValueError("no consumers; list the services with this secret, or write rotate: never")
        return self


class ActionItemsConfig(ConfigModel):
    """Issues for the action items of reports. Without this section, no label and no reminder exists."""

    required_from: Literal["sev1", "sev2", "sev3"] | None = Field(
        default=None,
        description="Lowest severity whose open action items get a weekly reminder (default: never).",
    )


class GitHubConfig(ConfigModel):
    """Settings of the operations repository: branch, features of the GitHub plan, and schedules."""

    branch: str = Field(
        default="main",
        pattern=BRANCH,
        max_length=200,
        description="Default branch; only workflows on it may make changes.",
    )
    actions: str | None = Field(
        default=None,
        pattern=REPOSITORY,
        description="Repository of Backout, as owner/name, whose actions the jobs use (default: this one is a copy).",
    )
    environments: bool = Field(
        default=True,
        description="Whether the plan has environments (not on GitHub Free if private); else repository secrets.",
    )
    enterprise_server: bool = Field(
        default=False, description="Omit newer workflow keys. No server but github.com is supported."
    )
    schedules: Mapping[ScheduledTask, ScheduleInterval] = Field(
        default_factory=dict, description="Task → interval of its schedule (default: no schedule)."
    )
    runs_on: RunnerSetting = Field(
        default_factory=standard_runner,
        description="Runners of all jobs: a label, a list of labels, or a group.",
        json_schema_extra={"default": "ubuntu-latest"},
    )
    watch_runner: RunnerSetting | None = Field(
        default=None,
        description="Runners of the watch (default: `runs_on`); another region sees another data center of the edge.",
    )
    leads: tuple[Login, ...] = Field(
        default=(),
        max_length=50,
        description="Logins with a label `lead:LOGIN`, which hands them the lead of an incident (default: none).",
    )
    wheels_archive: str | None = Field(
        default=None,
        pattern=ARCHIVE,
        max_length=500,
        description="Archive of wheels to install from while the package index is down (default: none).",
    )
    included_minutes: int = Field(
        default=2000,
        ge=0,
        le=1_000_000,
        description="Actions minutes a month in the plan; 0 for a public repository, where they are free.",
    )
    accept_minutes: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Minutes a month that schedules may use, if more than half of the included ones.",
    )

    @property
    def laptop_program(self) -> str:
        """The beginning of a command on a laptop: only a copy of Backout has the file `run`."""
        return "ops" if self.actions else "./run ops"

    def secret(self, environment: str, name: str) -> str:
        """Return the GitHub secret that a job in this GitHub environment reads for a variable."""
        return name if self.environments or not environment else f"{environment.upper()}_{name}"


class RecoveryTarget(ConfigModel):
    """Target times of a runbook, counted from its trigger. A drill compares its times with them."""

    write: Annotated[Seconds, between("1s", "24h")] | None = Field(
        default=None, description="Time until the provider answers the write, such as 1m."
    )
    recovery: Annotated[Seconds, between("1s", "24h")] = Field(
        description="Time until the probes prove the recovery, such as 5m."
    )


def read_template_labels(text: str, suffix: str) -> Iterator[str]:
    """Yield the labels of a template with this file suffix; none if GitHub cannot read the template either."""
    text = text.removeprefix("\ufeff")
    if suffix == ".md":
        front = re.match(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", text, re.DOTALL | re.MULTILINE)
        text = front[1] if front else ""
    try:
        data: Any = yaml.BaseLoader(text).get_single_data()  # reads texts only, so a date or a tag cannot fail
    except yaml.YAMLError:
        return
    labels = data.get("labels", []) if isinstance(data, dict) else []
    listed = labels.split(",") if isinstance(labels, str) else labels if isinstance(labels, list) else []
    yield from (str(label).strip() for label in listed)
