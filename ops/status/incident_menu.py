"""Post the recovery menu of an incident: services that fail or changed come first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import load_config, published_prefix
from ops.app.menu import build_menu
from ops.core.errors import OpsError, ProviderError
from ops.core.names import did_you_mean, join_sentences, quote_name
from ops.core.redaction import Redactor
from ops.core.threads import run_in_time, run_parallel_mixed
from ops.github.actions import repository_page
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.issues import ENVIRONMENT, INCIDENT, NOT_SURE, SERVICE, get_incident, read_form, save_menu
from ops.status.recent_changes import SECONDS, read_changes_of_issue
from ops.status.signs import read_live_signs

if TYPE_CHECKING:
    from ops.config import Config
    from ops.core.outage import LiveSigns

AGAIN = f"Correct it in this issue, then remove the label `{INCIDENT}` and add it again."


@dataclass(frozen=True)
class MenuScope:
    """Service and environment that the form names; "" for all."""

    service: str = ""
    environment: str = ""
    problem: str = ""
    """Answer to a name that ops.yml does not have."""


def post_menu(number: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> str:
    """Post the menu, or renew ours; return its URL, and whose menu stays. Raises ConfigError and ProviderError."""
    config = load_config(config_path, environ, redactor)
    with provider_errors(CHECK_HINT):
        repository = connect(environ, redactor)
        issue = get_incident(repository, number)
    scope = find_menu_scope(config, issue.body)
    (signs, problem), recent = run_parallel_mixed(
        [
            lambda: _read_signs(config, scope, config_path, environ, redactor),
            lambda: run_in_time({0: lambda: read_changes_of_issue(issue, config, environ, redactor)}, 1, SECONDS),
        ]
    )
    menu = build_menu(
        config,
        published_prefix(environ, config_path, config),
        str(number),
        repository_page(environ),
        environment=scope.environment,
        signs=signs,
        note=" ".join(filter(None, (scope.problem, problem))),
        recent=recent.get(0),
    )
    text = menu.render([scope.service])
    try:
        with provider_errors():
            saved = save_menu(repository, number, text)
    except ProviderError:  # the answer may be lost: the second time, it first looks for the menu
        with provider_errors(CHECK_HINT):
            saved = save_menu(repository, number, text)
    kept = f"Nothing was posted: the menu of {saved.kept_of} stays. Delete that comment, and run this again."
    return f"{saved.url}\n{kept}" if saved.kept_of else saved.url


def find_menu_scope(config: "Config", body: object) -> MenuScope:
    """Return what the form names. Its text only orders the menu, and starts nothing."""
    answers = read_form(body)
    service, lack = _find_form_name(answers.get(SERVICE, ""), config.service_names, "service")
    environment, unknown = _find_form_name(answers.get(ENVIRONMENT, ""), list(config.environments), "environment")
    problem = lack or unknown
    if service and environment and (environment, service) not in config.places:
        problem, environment = f"{service} is not in {environment}. {AGAIN}", ""
    return MenuScope(service, environment, problem)


def _find_form_name(answer: str, names: Sequence[str], kind: str) -> tuple[str, str]:
    """Return the name of ops.yml that the answer means, or why there is none."""
    plain = answer.strip("`\"' ").casefold()
    if plain in {"", NOT_SURE}:
        return "", ""
    known = next((name for name in names if name.casefold() == plain), "")
    unknown = f'ops.yml has no {kind} "{quote_name(answer)}"{did_you_mean(plain, names)}'
    return known, "" if known else join_sentences(unknown, AGAIN)


def _read_signs(
    config: "Config", scope: MenuScope, config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> "tuple[LiveSigns | None, str]":
    """Return the signs of the services in the scope, or why nothing was read: the menu does without."""
    places = [
        (environment, service)
        for environment, service in config.places
        if scope.service in ("", service) and scope.environment in ("", environment)
    ]
    try:
        return read_live_signs(config, places, config_path, environ, redactor), ""
    except OpsError as error:
        return None, f"Nothing was probed: {error.message}."
