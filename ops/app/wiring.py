"""Make what every command needs: configuration, secrets to hide, a context for plans."""

import functools
import secrets
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app import registry, secret_values
from ops.app.config_path import DEFAULT_CONFIG, find_config
from ops.app.secret_values import ProcessSecretValues
from ops.app.session import Session
from ops.core.clock import Clock
from ops.core.errors import ConfigError
from ops.core.names import LIMITS_FILE
from ops.core.next_step import replace_checkout
from ops.core.redaction import Redactor
from ops.core.run_record import PreviousRuns, parse_job_run
from ops.core.timeline import Timeline
from ops.engine.context import Context, RequestInfo
from ops.github import actions
from ops.github.secrets import EnvironmentSecrets
from ops.publish import LOCAL_USER
from ops.tools import process

if TYPE_CHECKING:
    from ops.config import CheckedConfig, Config
    from ops.config.probes import Probe
    from ops.github.committed_file import CommittedFile
    from ops.github.pulls import PullRequests
    from ops.site_build import SiteBuilder
    from ops.tools.source_files import SourceFiles


def read_config(path: Path, *, labels: Collection[str] | None = ()) -> "tuple[Config, tuple[str, ...]]":
    """Return the configuration and its warnings.

    `labels` names the labels that the caller needs; None: all. A problem in another label removes only that label, so
    that it cannot stop a recovery.

    Raises:
        ConfigError: with every problem at once.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        hint = "Run the command in the checkout of the operations repository, or add --config PATH."
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint=hint) from None
    needed = None if labels is None else frozenset(name.casefold() for name in labels)
    return _checked(text, needed).require_valid(str(path))


def load_config(path: Path, environ: Mapping[str, str], redactor: Redactor) -> "Config":
    """Return the configuration after registering the values of its secrets. Raises ConfigError like `read_config`."""
    config, _ = read_config(path)
    register_secrets(environ, config, redactor)
    return config


@functools.lru_cache(maxsize=4)
def _checked(text: str, labels: frozenset[str] | None) -> "CheckedConfig":
    """Check the text. Cached, because schedules, labels and drills read the same file for each run."""
    from ops import config

    return config.check_config(text, rules=registry.label_rules(), labels=labels)


def register_secrets(environ: Mapping[str, str], config: "Config", redactor: Redactor) -> frozenset[str]:
    """Register the values of all secret variables of ops.yml for redaction, and return their names."""
    from ops.config import durable_object_token_names

    tokens = {environment.token for environment in config.environments.values()}
    names = frozenset({"GITHUB_TOKEN", *tokens, *config.notify.webhooks.values()}) | secret_values.secret_variables(
        config
    )
    names |= durable_object_token_names(config)
    of_workers = {name for environment in config.environments.values() for name in environment.secrets}
    for name in names | config.login_variables | of_workers:
        redactor.add_secret(environ.get(name, ""))
        actions.mask_command(environ, environ.get(name, ""))
    return names


def probe_environ(environ: Mapping[str, str], never: frozenset[str]) -> "Callable[[Probe], Mapping[str, str]]":
    """Return a function from a probe to its environment: the variables that it names, except those in `never`."""

    def environ_of(probe: "Probe") -> Mapping[str, str]:
        return process.clean_environment(environ, names=probe.variables, never=never)

    return environ_of


def planning_context(
    *,
    params: Any,
    session: Session,
    config: "Config",
    path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    ending: ExitStack,
    request: RequestInfo | None = None,
) -> Context[Any]:
    """Return a context in which a runbook can plan, and change and publish nothing. `path` is that of ops.yml."""
    folder, clock = path.resolve().parent, session.clock
    return Context(
        params=params,
        config=config,
        environment=session.environment,
        request=request or RequestInfo(actor=LOCAL_USER),
        run_id=new_run_id(environ, clock),
        clock=clock,
        timeline=Timeline(clock, redactor),
        cloudflare=session,
        github=_Repository(folder, environ, redactor, session, ending),
        web=session,
        make_site=lambda: make_site(environ, folder, redactor, ending, session),
        read_source=functools.partial(read_source, folder, environ, redactor),
        secret_values=ProcessSecretValues(environ, redactor, config),
        previous_runs=lambda: PreviousRuns,
        local_runs=tuple,
        service_kinds=registry.service_kinds,
        command_prefix=command_prefix(environ, path),
    )


def new_run_id(environ: Mapping[str, str], clock: Clock) -> str:
    """Return a unique id: GitHub's run and attempt, or the time; and four random digits.

    One job may run two commands. Deployment messages hold the id, so it must never repeat.
    """
    digits = secrets.token_hex(2)
    of_a_job = f"{actions.run_id(environ)}.{environ.get('GITHUB_RUN_ATTEMPT', '1')}-{digits}"
    return of_a_job if parse_job_run(of_a_job) else f"{clock.now():%Y%m%dT%H%M%S}-{digits}"


class _Repository:
    """The operations repository for a Context. Most ports are made and imported on first use."""

    def __init__(
        self, folder: Path, environ: Mapping[str, str], redactor: Redactor, session: Session, ending: ExitStack
    ) -> None:
        self._folder, self._environ, self._redactor = folder, environ, redactor
        self._write_guards, self._ending = session.write_guards, ending
        self.secrets = self._write_guards.add(
            EnvironmentSecrets.of(environ, redactor, session.clock)
        )  # masks an App's key

    @functools.cached_property
    def pulls(self) -> "PullRequests":
        from ops.github.pulls import PullRequests

        pulls = self._write_guards.add(PullRequests.of(self._environ, self._redactor))
        self._ending.callback(pulls.close)
        return pulls

    @functools.cached_property
    def limits(self) -> "CommittedFile":
        from ops.github.committed_file import CommittedFile

        return CommittedFile(self._folder, LIMITS_FILE, self._environ, self._redactor, self.pulls)


def make_site(
    environ: Mapping[str, str],
    folder: Path,
    redactor: Redactor,
    ending: ExitStack,
    session: Session | None = None,
    *,
    elsewhere: bool = False,
) -> "SiteBuilder":
    """Return the builder of sites.

    `folder` is that of ops.yml. Without a session it cannot deploy. `elsewhere`: another job builds.
    """
    from ops.site_build import DeployAccount, SiteBuilder

    def exposed(application: str) -> str:
        from ops.github import environments

        return environments.source_exposure(environ, redactor, application)

    return SiteBuilder(
        environ,
        folder,
        redactor,
        scratch=lambda: ending.enter_context(process.scratch_folder()),
        may_build=elsewhere or not actions.is_job(environ),
        exposed=lambda of: exposed(of) if elsewhere and actions.is_job(environ) else "",
        account=DeployAccount(session.base_url, session.account_id, session.token) if session else None,
    )


def read_source(
    folder: Path, environ: Mapping[str, str], redactor: Redactor, repository: str | None, paths: Sequence[str]
) -> "SourceFiles":
    """Return files of a repository: in a job those that an earlier job saved, else of the checkout. Raises Refused."""
    from ops.tools import source_files

    if actions.is_job(environ):
        return source_files.load_source_files(environ)
    return source_files.read_source_files(folder, environ, redactor, repository, paths)


def program_name(environ: Mapping[str, str]) -> str:
    """Return the start of suggested commands: `ops`, or the way in which `./run` was called.

    A job suggests commands for a laptop with a checkout, where `ops` is not installed.
    """
    return environ.get("OPS_PROGRAM") or ("./run ops" if actions.is_job(environ) else "ops")


def command_prefix(environ: Mapping[str, str], config: Path) -> tuple[str, ...]:
    """Return the program name, and the option that a suggested command needs to use the same ops.yml."""
    is_default = config in {DEFAULT_CONFIG, find_config()}
    return (program_name(environ), *(() if is_default else (f"--config {shlex.quote(str(config))}",)))


def published_prefix(environ: Mapping[str, str], path: Path, config: "Config") -> tuple[str, ...]:
    """Return `command_prefix` for other people's laptops: without the path of a checkout on this one."""
    program, *extra = command_prefix(environ, path)
    return (replace_checkout(f"{program} ", config.github.laptop_program).strip(), *extra)
