"""Parse, check and edit `ops.yml`, with line and advice.

`ops.yml` holds names of secrets only, never values. Editors show the descriptions of the fields.

Subjects: also the reader and text editor of every YAML file.

Examples: check_config, find_probe_errors, list_recovery_options.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, PrivateAttr

from ops.config import checks
from ops.config.label_checks import ANY_LABEL, LabelRules
from ops.config.notify import NotifyConfig
from ops.config.probes import Probe, ProbeSet, VerificationRule
from ops.config.sections import (
    ActingEnvironment,
    ActionItemsConfig,
    Database,
    DurableObjects,
    GitHubConfig,
    GuardConfig,
    KeptRowsStore,
    RecoveryTarget,
    RotatedSecret,
    RuntimeConfig,
)
from ops.config.staging_drill import StagingDrillConfig
from ops.config.status_page import MessagesConfig, StatusPageConfig
from ops.config.strict_yaml import ConfigProblem, KeyPath, YamlDocument, read_yaml
from ops.config.types import (
    ACCOUNT,
    LABEL,
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
    Login,
    Name,
    ParameterValue,
    RunbookName,
    Seconds,
    SecretName,
    TokenLocation,
    WatchConfig,
    WatchSetting,
    between,
    build_model,
    duration_field,
    format_problems,
)
from ops.core.errors import ConfigError, Reason
from ops.core.names import count_of, nearest_name, quote_name
from ops.core.standing_rollback import HoldSetup

T = TypeVar("T")


def _responder_list_field(of: str) -> Any:
    """Return the field of a list that narrows the lists above it."""
    text = f"Only these GitHub logins may start recoveries {of}. A person must be in each list that applies."
    return Field(default=(), description=text)


class NamedModel(ConfigModel):
    """A model whose name is its key in the file."""

    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        return self._name


class Service(NamedModel):
    """A deployed part of the application. Its key `worker` or `pages` decides its kind."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["worker"]}, {"required": ["pages", "url"]}]})

    worker: str = Field(default="", pattern=WORKER, description="Name of the Worker on Cloudflare.")
    pages: str = Field(default="", pattern=PAGES, description="Name of the Pages project on Cloudflare.")
    url: str = Field(
        default="",
        pattern=ORIGIN,
        description="Origin of the service: https:// and a host, without a path. "
        "A Worker that gets no requests, only cron triggers or a queue, has none.",
    )
    repository: str | None = Field(
        default=None, pattern=REPOSITORY, description="owner/name on GitHub, for links that compare two versions."
    )
    static_assets: bool | None = Field(
        default=None,
        description="Whether the Worker has static assets, if Cloudflare does not say so (default: ask Cloudflare).",
    )
    min_served: Annotated[Seconds, between("0s", "720h")] = duration_field(
        "10m", "Shortest time that a release must have served to be a rollback target."
    )
    rehearse: bool = Field(
        default=False,
        description="Whether a rollback first runs its target at 0 % of the traffic and probes it there.",
    )
    guard: GuardConfig | None = Field(
        default=None, description="Guard of each deployment (default: `ops guard` reports after 10m)."
    )
    hold_check: bool = Field(
        default=False,
        description="Whether each deployment of the service runs `ops hold check` first.",
    )
    compare: tuple[Annotated[str, Field(pattern=URL_PATH)], ...] = Field(
        default=("/",),
        min_length=1,
        max_length=4,
        description="Paths that every release has; their content shows which Pages deployment is live.",
    )
    build: BuildConfig | None = Field(default=None, description="Build of a commit into a site, for redeploy-pages.")
    maintenance: Literal["edge", "switch"] = Field(
        default="edge",
        description="Maintenance method: edge (routes to ops-maintenance) or switch (the application's own). "
        "For a Pages site, `edge` adds it to button and menu.",
    )
    durable_objects: DurableObjects = Field(default_factory=dict)
    verify: VerificationRule = Field(
        default_factory=VerificationRule, description="Number and timing of the probe rounds."
    )
    probes: tuple[Probe, ...] = Field(default=(), description="Probes that decide whether the service is healthy.")
    responders: tuple[Login, ...] = _responder_list_field("of this service")

    @property
    def hold_setup(self) -> HoldSetup:
        """Return whether its deployments run the hold check, and the input of the action that names it."""
        return HoldSetup(f"{self.kind}: {self.worker or self.pages}", self.hold_check)

    @property
    def hides_version(self) -> bool:
        """Return whether requests probe the Worker, and none reads its version."""
        is_requested = any(not each.command for each in self.probes)
        return bool(self.worker) and is_requested and not any(each.http and each.http.version for each in self.probes)

    @property
    def watched_probes(self) -> tuple[Probe, ...]:
        """Return the probes of a watch: all without a browser, which takes too long for its rounds."""
        return tuple(each for each in self.probes if each.browser is None)

    @property
    def quick_probes(self) -> tuple[Probe, ...]:
        """Return the probes that only send requests."""
        return tuple(each for each in self.probes if each.http or each.page)

    def probes_with(self, objects: Iterable[str]) -> tuple[Probe, ...]:
        """Return its probes and those of the named Durable Objects; unknown names are ignored."""
        named = (self.durable_objects[name] for name in objects if name in self.durable_objects)
        return (*self.probes, *(probe for each in named for probe in each.probes))

    @property
    def kind(self) -> str:
        """Return the kind of the service: worker or pages."""
        return next(kind for kind in checks.KINDS if getattr(self, kind))

    @property
    def host(self) -> str:
        """Return the host of its url, without a port; empty without a url."""
        return urlsplit(self.url).hostname or ""

    @property
    def has_own_zone(self) -> bool:
        """Return whether its url can be in a zone of the account: workers.dev and pages.dev belong to Cloudflare."""
        return bool(self.url) and not self.host.endswith((".workers.dev", ".pages.dev"))

    @property
    def offers_maintenance(self) -> bool:
        """Return whether button and menu offer maintenance: of a site only if ops.yml asks for it."""
        if self.maintenance == "switch" and self.url:
            return True
        return self.has_own_zone and (bool(self.worker) or "maintenance" in self.model_fields_set)

    def database_probes(self, database: Database) -> tuple[Probe, ...]:
        """Return its probes, with those of a database if it is the first service that uses it."""
        return (*self.probes, *(database.probes if self.name == database.services[0] else ()))

    def require_build(self) -> BuildConfig:
        """Return `build`. Raises ConfigError if it is missing."""
        if self.build is None:
            raise ConfigError(
                f"{self.name} has no build in ops.yml",
                hint="Add `build` with the command and the output folder.",
            )
        return self.build


class Environment(NamedModel):
    """One Cloudflare account and what runs there."""

    account_id: str = Field(pattern=ACCOUNT, description="Id of the Cloudflare account: 32 hexadecimal digits.")
    token: SecretName = Field(
        default=checks.DEFAULT_TOKEN,
        description="NAME of the environment variable that holds the API token. Never the token.",
    )
    token_location: TokenLocation | None = Field(
        default=None,
        description="Place where people find the token, such as `1Password: cloudflare-recovery`. Shown on incidents.",
    )
    services: Mapping[Name, Service] = Field(min_length=1, description="Services, by the name that people type.")
    approval: tuple[ActingEnvironment, ...] = Field(
        default=(),
        description="GitHub environments whose jobs need an approval by a reviewer of `approve-NAME`.",
    )
    secrets: Mapping[SecretName, RotatedSecret] = Field(
        default_factory=dict, description="NAME of a secret of Workers → how rotate-secrets replaces its value."
    )
    runtime: RuntimeConfig | None = Field(
        default=None, description="Limits and switches that the application reads while it runs."
    )
    databases: Mapping[Name, Database] = Field(
        default_factory=dict,
        description="D1 databases for restore-database, by the name that people type.",
    )
    kept_rows: KeptRowsStore | None = Field(
        default=None, description="R2 bucket in which jobs keep rows of tables with `keep: true`."
    )
    responders: tuple[Login, ...] = _responder_list_field("in this environment")

    @property
    def kept_rows_store(self) -> KeptRowsStore | None:
        """Return the bucket that jobs need; None if no table has `keep`, or none is configured."""
        return self.kept_rows if any(each.kept_tables for each in self.databases.values()) else None

    @property
    def approval_environment(self) -> str:
        """Return the GitHub environment whose reviewers approve changes here."""
        return f"approve-{self.name}"

    def laptop_variables(self, service: str = "") -> str:
        """Return the variables that a command on a laptop needs, each with the place of its value.

        With `service`, also the tokens of its Durable Objects.
        """
        places = {self.token: self.token_location}
        if service in self.services:
            objects = self.services[service].durable_objects.values()
            places |= {each.token: each.token_location for each in objects if each.token}
        return "; ".join(f"`{name}`: {place}" if place else f"`{name}`" for name, place in places.items())

    @property
    def probes(self) -> Iterator[Probe]:
        """Yield the probes of all services, Durable Objects, switches and databases."""
        for service in self.services.values():
            yield from service.probes_with(service.durable_objects)
        for database in self.databases.values():
            yield from database.probes
        for switch in self.runtime.switches.values() if self.runtime else ():
            yield from switch.probes

    def service(self, name: str) -> Service:
        """Return the service with this name. Raises ConfigError if there is none."""
        return _find_named("service", name, self.services, where=self.name)

    def database(self, name: str) -> Database:
        """Return the database with this name. Raises ConfigError if there is none."""
        if not self.databases:
            raise ConfigError(
                f"{self.name} has no databases in ops.yml",
                hint="Add the database under `databases`, with its id and the services that use it.",
            )
        return _find_named("database", name, self.databases, where=self.name)

    def databases_of(self, service: str) -> dict[str, Database]:
        """Return the databases that a service uses, by name."""
        return {name: each for name, each in self.databases.items() if service in each.services}

    def services_of(self, database: str) -> list[Service]:
        """Return the services that use a database, the first one first; none for an unknown name."""
        database_config = self.databases.get(database)
        return [self.service(name) for name in dict.fromkeys(database_config.services)] if database_config else []

    def database_probes(self, database: str) -> dict[str, ProbeSet]:
        """Return service → its probes, with those of a database that it uses. Raises ConfigError for an unknown one."""
        database_config = self.database(database)
        return {
            each.name: ProbeSet(each.url, each.database_probes(database_config), each.verify, name=each.name)
            for each in self.services_of(database)
        }

    def require_runtime(self) -> RuntimeConfig:
        """Return `runtime`. Raises ConfigError if it is missing."""
        if self.runtime is None:
            raise ConfigError(
                f"{self.name} has no runtime in ops.yml",
                hint="Add `runtime` with the service that reads limits and switches, and the KV namespace.",
            )
        return self.runtime


class RecoveryLabel(ConfigModel):
    """The run that a label on an incident issue requests."""

    runbook: RunbookName = Field(description="Runbook to run.")
    environment: str = Field(description="Environment to run it in.")
    params: Mapping[Annotated[str, Field(pattern=PARAMETER)], ParameterValue] = Field(
        default_factory=dict, description="Parameters of the runbook."
    )


class RunbookSettings(ConfigModel):
    """Settings of one runbook."""

    responders: tuple[Login, ...] = _responder_list_field("of this runbook")


class Config(ConfigModel):
    """Operations of one application: environments, services, probes, labels and responders."""

    environments: Mapping[Name, Environment] = Field(min_length=1, description="Environments, by name.")
    labels: Mapping[Annotated[str, Field(pattern=LABEL)], RecoveryLabel] = Field(
        default_factory=dict, description="Label of an incident issue → the run that it requests."
    )
    responders: tuple[Login, ...] = Field(
        default=(), description="GitHub logins that may start a recovery (default: everyone with write access)."
    )
    runbooks: Mapping[RunbookName, RunbookSettings] = Field(
        default_factory=dict, description="Runbook → its own settings."
    )
    contacts: tuple[Contact, ...] = Field(default=(), description="People to call when a recovery fails.")
    notify: NotifyConfig = Field(
        default_factory=NotifyConfig, description="Chats that get notices. Names of secrets only."
    )
    github: GitHubConfig = Field(default_factory=GitHubConfig, description="The operations repository on GitHub.")
    action_items: ActionItemsConfig | None = Field(default=None, description="Issues for action items (default: none).")
    recovery_targets: Mapping[RunbookName, RecoveryTarget] = Field(
        default_factory=dict, description="Runbook → its target times."
    )
    staging_drill: StagingDrillConfig | None = Field(
        default=None, description="Drill of a recovery on staging (default: none)."
    )
    status_page: StatusPageConfig | None = Field(default=None, description="The public status page (default: none).")
    messages: MessagesConfig = Field(
        default_factory=MessagesConfig, description="Texts for users and the team (default: our own)."
    )
    watch: WatchSetting = Field(
        default_factory=WatchConfig,
        description="Watch after a recovery that changed a service.",
        json_schema_extra={"default": "30m"},
    )

    def model_post_init(self, _context: Any) -> None:
        _give_names(self.environments)
        for environment in self.environments.values():
            _give_names(environment.services)

    @property
    def service_names(self) -> tuple[str, ...]:
        """Return the services of all environments, in the order of ops.yml."""
        return tuple(dict.fromkeys(name for each in self.environments.values() for name in each.services))

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Return environment and service of each service."""
        return tuple((name, service) for name, each in self.environments.items() for service in each.services)

    @property
    def login_variables(self) -> frozenset[str]:
        """Return the variables that probes fill into forms or send as headers: secrets, but not of the run."""
        probes = (probe for environment in self.environments.values() for probe in environment.probes)
        return frozenset(variable for probe in probes for variable in probe.secret_variables)

    @property
    def header_variables(self) -> frozenset[str]:
        """Return the variables that probes send as headers."""
        probes = (probe for environment in self.environments.values() for probe in environment.probes)
        return frozenset(name for probe in probes if not probe.browser for name in probe.secret_variables)

    def environment(self, name: str) -> Environment:
        """Return the environment with this name. Raises ConfigError if there is none."""
        return _find_named("environment", name, self.environments, where="ops.yml")


class CheckedConfig(NamedTuple):
    """A checked configuration: its problems if `config` is None, and its warnings, without the file's path."""

    config: Config | None
    problems: tuple[ConfigProblem, ...]
    warnings: tuple[ConfigProblem, ...]

    def require_valid(self, path: str) -> tuple[Config, tuple[str, ...]]:
        """Return the configuration and its warnings. `path` is for the messages.

        Raises:
            ConfigError: with every problem at once.
        """
        if self.config is None or self.problems:
            count = count_of(len(self.problems), "problem")
            hint = "Correct every line named here, then run `ops config check`."
            raise ConfigError(f"{path} has {count}", hint=hint, problems=format_problems(path, self.problems))
        return self.config, format_problems(path, self.warnings)


def check_config(
    text: str,
    *,
    rules: LabelRules = ANY_LABEL,
    labels: Collection[str] | None = None,
) -> CheckedConfig:
    """Read the text of an `ops.yml` and check it.

    `labels`: lower-case names of the labels that the caller needs (default: all). Another label is not compared with
    its runbook, and is removed if it has a problem.

    Read the file with `errors="surrogateescape"`, so that invalid UTF-8 is a problem with a line number.
    """
    document = read_yaml(text)
    find = partial(checks.find_config_errors, rules=rules, labels=labels)
    config, problems = build_model(Config, document, find(document.data) if document.complete else ())
    others = {name for name in _broken_labels(problems) if labels is not None and name.casefold() not in labels}
    if document.complete and others:
        document = _without_labels(document, others)
        config, problems = build_model(Config, document, find(document.data))
    if config is None or problems:
        return CheckedConfig(None, tuple(problems), ())
    unfit = _find_unfit_labels(config, rules) if labels is None else ()
    found = (*checks.find_config_warnings(document.data), *_find_short_deadlines(config), *unfit)
    return CheckedConfig(config, (), tuple(ConfigProblem(document.line(where), where, text) for where, text in found))


def _find_short_deadlines(config: Config) -> Iterator[tuple[KeyPath, str]]:
    for environment, name in config.places:
        service = config.environments[environment].services[name]
        needed, most = service.verify.successes_without_version, service.verify.most_rounds
        if service.hides_version and needed > most:
            text = f"no probe reads the version, and a proof without it takes {needed} healthy rounds, but {most} fit"
            yield (
                ("environments", environment, "services", name, "verify"),
                f"{text}; set version in an http probe, or write a longer deadline",
            )


def _find_unfit_labels(config: Config, rules: LabelRules) -> Iterator[tuple[KeyPath, str]]:
    """Yield the labels whose runbook does not fit their service or environment: the gate or the run refuses them."""
    if rules.fitting is None:
        return
    for name, label in config.labels.items():
        fitting = rules.fitting(config.environments[label.environment], label.runbook)
        service = label.params.get("service")
        if not fitting or (service and service not in fitting):
            place = f"{service} in {label.environment}" if service else label.environment
            text = f"{label.runbook} does not fit {place}, so this label recovers nothing"
            yield ("labels", name), f"{text}; correct it, or add what the runbook needs"


def _broken_labels(problems: Iterable[ConfigProblem]) -> set[str]:
    """Return the names of the labels that have a problem of their own."""
    return {str(path[1]) for _, path, _ in problems if path[:1] == ("labels",) and len(path) > 1}


def _without_labels(document: YamlDocument, names: Collection[str]) -> YamlDocument:
    labels = {name: label for name, label in document.data["labels"].items() if name not in names}
    problems = tuple(each for each in document.problems if not _broken_labels([each]) & set(names))
    return document._replace(data=document.data | {"labels": labels}, problems=problems)


def parse_config(text: str, *, path: str, rules: LabelRules = ANY_LABEL) -> tuple[Config, tuple[str, ...]]:
    """Check the text, and return what `CheckedConfig.require_valid` does."""
    return check_config(text, rules=rules).require_valid(path)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of `ops.yml` for editors. Rules between keys are checked by `parse_config` only."""
    draft = {"$schema": ConfigSchemaGenerator.schema_dialect}
    return draft | Config.model_json_schema(schema_generator=ConfigSchemaGenerator) | {"title": "ops.yml"}


def _give_names(named: Mapping[str, NamedModel]) -> None:
    for name, model in named.items():
        model._name = name  # noqa: SLF001 - only here the key of the model is known


def _find_named(what: str, name: str, known: Mapping[str, T], *, where: str) -> T:
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
