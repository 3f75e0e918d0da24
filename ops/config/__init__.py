"""What `ops.yml` may say: its models, the one way to read it (`parse`), and its JSON Schema (`schema`).

Secrets stand in it by name only. The descriptions are what an editor shows.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from ops.config import checks
from ops.config.durable_objects import DurableObjects
from ops.config.github import ActingEnvironment, GitHubConfig
from ops.config.messages import build_model, format_problems
from ops.config.probes import Probe
from ops.config.runtime import RuntimeConfig
from ops.config.secrets import RotatedSecret
from ops.config.strict_yaml import ConfigProblem, YamlDocument, read_yaml
from ops.config.types import (
    ACCOUNT,
    LABEL,
    LOGIN,
    ORIGIN,
    PAGES,
    PARAMETER,
    REPOSITORY,
    URL_PATH,
    WORKER,
    BuildConfig,
    ConfigModel,
    ConfigSchemaGenerator,
    Contact,
    Name,
    NotifyConfig,
    ParameterValue,
    RunbookName,
    Seconds,
    SecretName,
    between,
    duration_field,
)
from ops.core.clock import unparse_duration
from ops.core.errors import ConfigError, Reason
from ops.core.suggestions import nearest_name, quote_name

T = TypeVar("T")


class NamedModel(ConfigModel):
    """A model that stands under its name in the file."""

    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        return self._name


class VerificationRule(ConfigModel):
    """When probes have proved a recovery."""

    successes: int = Field(default=3, ge=1, le=100, description="Healthy rounds of all probes in a row.")
    interval: Annotated[Seconds, between("10ms", "1m")] = duration_field("1s", "From one round to the next.")
    deadline: Annotated[Seconds, between("1s", "1h")] = duration_field("2m", "All rounds together.")

    @model_validator(mode="after")
    def _rounds_fit(self) -> Self:
        if self.deadline < (least := self.successes * self.interval):
            every, deadline = unparse_duration(self.interval), unparse_duration(self.deadline)
            raise ValueError(
                f"{self.successes} successes {every} apart do not fit in {deadline}; "
                f"write a deadline of at least {unparse_duration(least)}"
            )
        return self


class Service(NamedModel):
    """A deployed part of the application. The key of its Cloudflare name says what kind it is."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [kind]} for kind in checks.KINDS]})

    worker: str = Field(default="", pattern=WORKER, description="The Worker's name on Cloudflare.")
    pages: str = Field(default="", pattern=PAGES, description="The Pages project's name on Cloudflare.")
    url: str = Field(pattern=ORIGIN, description="Where the service answers: https:// and a host, nothing after it.")
    repository: str | None = Field(
        default=None, pattern=REPOSITORY, description="owner/name on GitHub, for links that compare two versions."
    )
    static_assets: bool | None = Field(
        default=None,
        description="Whether the Worker has static assets, if Cloudflare does not say so (default: ask Cloudflare).",
    )
    min_served: Annotated[Seconds, between("0s", "720h")] = duration_field(
        "10m", "A release that served for less than this is not rolled back to."
    )
    compare: tuple[Annotated[str, Field(pattern=URL_PATH)], ...] = Field(
        default=("/",),
        min_length=1,
        max_length=4,
        description="Paths that every release has: by them it is seen which deployment of Pages serves.",
    )
    build: BuildConfig | None = Field(
        default=None, description="How a commit of it becomes a site, for redeploy-pages."
    )
    maintenance: Literal["edge", "switch"] = Field(
        default="edge", description="How it is taken offline: edge, by routes to ops-maintenance, or by its own switch."
    )
    durable_objects: DurableObjects = Field(default_factory=dict)
    verify: VerificationRule = Field(
        default_factory=VerificationRule, description="How often and how long the probes are run."
    )
    probes: tuple[Probe, ...] = Field(default=(), description="What tells healthy from unhealthy.")

    def probes_with(self, objects: Iterable[str]) -> tuple[Probe, ...]:
        """Its own, and those of the Durable Objects of these names; an unknown one has none."""
        named = (self.durable_objects[name] for name in objects if name in self.durable_objects)
        return (*self.probes, *(probe for each in named for probe in each.probes))

    @property
    def kind(self) -> str:
        """The key that names it on Cloudflare."""
        return next(kind for kind in checks.KINDS if getattr(self, kind))

    def require_build(self) -> BuildConfig:
        """Raises ConfigError where there is none."""
        if self.build is None:
            raise ConfigError(
                f"{self.name} has no build in ops.yml",
                hint="Write how a commit becomes a site under `build`: its command and its output.",
            )
        return self.build


class Environment(NamedModel):
    """One Cloudflare account and what runs there."""

    account_id: str = Field(pattern=ACCOUNT, description="The Cloudflare account's id: 32 hexadecimal digits.")
    token: SecretName = Field(
        default=checks.DEFAULT_TOKEN,
        description="NAME of the environment variable that holds the API token. Never the token.",
    )
    services: Mapping[Name, Service] = Field(min_length=1, description="The services, by the name that people type.")
    approval: tuple[ActingEnvironment, ...] = Field(
        default=(),
        description="GitHub environments whose jobs act here only after a reviewer of `approve-NAME` approved.",
    )
    secrets: Mapping[SecretName, RotatedSecret] = Field(
        default_factory=dict, description="NAME of a secret of Workers → how rotate-secrets replaces its value."
    )
    runtime: RuntimeConfig | None = Field(
        default=None, description="What the application reads of us while it runs: limits and switches."
    )

    @property
    def approval_environment(self) -> str:
        """The GitHub environment whose reviewers approve what is done here."""
        return f"approve-{self.name}"

    @property
    def probes(self) -> Iterator[Probe]:
        """Of all services, their Durable Objects and the switches."""
        for service in self.services.values():
            yield from service.probes_with(service.durable_objects)
        for switch in self.runtime.switches.values() if self.runtime else ():
            yield from switch.probes

    def service(self, name: str) -> Service:
        return _named("service", name, self.services, where=self.name)

    def require_runtime(self) -> RuntimeConfig:
        """Raises ConfigError where there is none."""
        if self.runtime is None:
            raise ConfigError(
                f"{self.name} has no runtime in ops.yml",
                hint="Write which Worker reads limits and switches, and from which KV namespace, under `runtime`.",
            )
        return self.runtime


class RecoveryLabel(ConfigModel):
    """The run that a label on an incident issue asks for."""

    runbook: RunbookName = Field(description="The runbook to run.")
    environment: str = Field(description="The environment to run it in.")
    params: Mapping[Annotated[str, Field(pattern=PARAMETER)], ParameterValue] = Field(
        default_factory=dict, description="The runbook's parameters."
    )


class RecoveryTarget(ConfigModel):
    """How fast a runbook is meant to be, counted from its trigger. A drill holds it to that."""

    write: Annotated[Seconds, between("1s", "24h")] | None = Field(
        default=None, description="Until the provider has answered the write, such as 1m."
    )
    recovery: Annotated[Seconds, between("1s", "24h")] = Field(
        description="Until the probes have proved the recovery, such as 5m."
    )


class Config(ConfigModel):
    """The operations of one application: what runs where, who may recover it, and how it is known to be well."""

    environments: Mapping[Name, Environment] = Field(min_length=1, description="The environments, by name.")
    labels: Mapping[Annotated[str, Field(pattern=LABEL)], RecoveryLabel] = Field(
        default_factory=dict, description="Label of an incident issue → the run that it asks for."
    )
    responders: tuple[Annotated[str, Field(pattern=LOGIN)], ...] = Field(
        default=(), description="GitHub logins that may start a recovery. Without any: whoever may write here."
    )
    contacts: tuple[Contact, ...] = Field(default=(), description="Shown when a recovery did not succeed.")
    notify: NotifyConfig = Field(default_factory=NotifyConfig, description="Where notices go. Names of secrets only.")
    github: GitHubConfig = Field(default_factory=GitHubConfig, description="The operations repository on GitHub.")
    recovery_targets: Mapping[RunbookName, RecoveryTarget] = Field(
        default_factory=dict, description="Runbook → how fast it is meant to be."
    )

    def model_post_init(self, _context: Any) -> None:
        _give_names(self.environments)
        for environment in self.environments.values():
            _give_names(environment.services)

    @property
    def login_variables(self) -> frozenset[str]:
        """Names of the variables that probes fill into forms or send as headers: secrets, but not the run's own."""
        probes = (probe for environment in self.environments.values() for probe in environment.probes)
        return frozenset(variable for probe in probes for variable in probe.secret_variables)

    @property
    def header_variables(self) -> frozenset[str]:
        """Names of the variables that probes send as headers."""
        probes = (probe for environment in self.environments.values() for probe in environment.probes)
        return frozenset(name for probe in probes if not probe.browser for name in probe.secret_variables)

    def environment(self, name: str) -> Environment:
        return _named("environment", name, self.environments, where="ops.yml")


class CheckedConfig(NamedTuple):
    """A configuration, or None and its problems; and the warnings. The paths of files are not part of it."""

    config: Config | None
    problems: tuple[ConfigProblem, ...]
    warnings: tuple[ConfigProblem, ...]

    def require_valid(self, path: str) -> tuple[Config, tuple[str, ...]]:
        """Return the configuration and its warnings. `path` is for the messages.

        Raises:
            ConfigError: with every problem at once.
        """
        if self.config is None or self.problems:
            count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
            hint = "Correct every line named here, then run `ops config check`."
            raise ConfigError(f"{path} has {count}", hint=hint, problems=format_problems(path, self.problems))
        return self.config, format_problems(path, self.warnings)


def check_config(
    text: str,
    *,
    runbooks: Mapping[str, Mapping[str, tuple[type, bool]]] | None = None,
    kinds: Mapping[str, str] | None = None,
    by_label: Mapping[str, bool] | None = None,
    labels: Collection[str] | None = None,
) -> CheckedConfig:
    """Read the text of an `ops.yml` and check it.

    `runbooks`: of each runbook its parameters, each with its kind of value and whether it is needed; `kinds`: what its
    services are; `by_label`: whether a label may start it.
    `labels`: names of the labels that the caller needs, in lower case; default: all. Another label is left out if it
    has a problem, and is not compared with its runbook.
    Read the file with `errors="surrogateescape"`: then bytes that are not UTF-8 are a problem with a line as well.
    """
    document = read_yaml(text)
    find = partial(checks.find_errors, runbooks=runbooks, kinds=kinds, by_label=by_label, labels=labels)
    config, problems = build_model(Config, document, find(document.data) if document.complete else ())
    others = {name for name in _broken_labels(problems) if labels is not None and name.casefold() not in labels}
    if document.complete and others:
        document = _without_labels(document, others)
        config, problems = build_model(Config, document, find(document.data))
    if config is None or problems:
        return CheckedConfig(None, tuple(problems), ())
    warnings = (ConfigProblem(document.line(where), where, text) for where, text in checks.find_warnings(document.data))
    return CheckedConfig(config, (), tuple(warnings))


def _broken_labels(problems: Iterable[ConfigProblem]) -> set[str]:
    """Return the names of the labels that have a problem of their own."""
    return {str(path[1]) for _, path, _ in problems if path[:1] == ("labels",) and len(path) > 1}


def _without_labels(document: YamlDocument, names: Collection[str]) -> YamlDocument:
    labels = {name: label for name, label in document.data["labels"].items() if name not in names}
    problems = tuple(each for each in document.problems if not _broken_labels([each]) & set(names))
    return document._replace(data=document.data | {"labels": labels}, problems=problems)


def parse_config(text: str, *, path: str, **rules: Any) -> tuple[Config, tuple[str, ...]]:
    """Check the text (`rules` are those of `check`), and return what `CheckedConfig.require_valid` does."""
    return check_config(text, **rules).require_valid(path)


def config_schema() -> dict[str, Any]:
    """JSON Schema of `ops.yml`, for editors. What one key says about another only `parse` checks."""
    draft = {"$schema": ConfigSchemaGenerator.schema_dialect}
    return draft | Config.model_json_schema(schema_generator=ConfigSchemaGenerator) | {"title": "ops.yml"}


def _give_names(named: Mapping[str, NamedModel]) -> None:
    for name, model in named.items():
        model._name = name  # noqa: SLF001 - the name stands outside of what it names, and only here is it known


def _named(what: str, name: str, known: Mapping[str, T], *, where: str) -> T:
    if name in known:
        return known[name]
    near = nearest_name(name, known)
    meant = f'; did you mean "{near}"?' if near else ""
    hint = f"Name one of: {', '.join(sorted(known))}."
    raise ConfigError(f'no {what} "{quote_name(name)}" in {where}{meant}', reason=Reason.UNKNOWN_NAME, hint=hint)


def durable_object_token_names(config: Config) -> frozenset[str]:
    """Return the names of the variables that hold tokens of Durable Objects, in any environment."""
    services = (service for environment in config.environments.values() for service in environment.services.values())
    return frozenset(each.token for service in services for each in service.durable_objects.values() if each.token)
