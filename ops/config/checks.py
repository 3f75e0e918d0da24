"""What no single model of `ops.yml` can see, checked on the plain data: so it is reported beside all other problems.

The data may be of any shape here: what has the wrong type is the models' to report, and is passed over.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ops.config import name_checks, probe_checks, runtime_checks, secret_checks, strict_yaml
from ops.config.raw import Finding, at, items, mapping, services
from ops.config.strict_yaml import Path
from ops.core.suggestions import shown, suggestion

DEFAULT_TOKEN = "CLOUDFLARE_API_TOKEN"  # noqa: S105 - the name of a variable
KINDS = {"worker": ("static_assets", "min_served", "maintenance", "durable_objects"), "pages": ("compare", "build")}
"""What says which kind a service is, exactly one of them → the keys that only this kind has."""
_WRITE = {str: "text, in quotes where it looks like something else", bool: "true or false", tuple: "a list, as [A, B]"}
"""Kind of a runbook's parameter → what a label has to have for it."""
SECRETS_OF_THE_RUN = {
    DEFAULT_TOKEN,
    "CLOUDFLARE_API_KEY",
    "CF_API_TOKEN",
    "CF_API_KEY",
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "GH_SECRETS_TOKEN",
    "GH_SECRETS_APP_KEY",
}


def errors(
    data: Any,
    *,
    runbooks: Mapping[str, Mapping[str, tuple[type, bool]]] | None = None,
    kinds: Mapping[str, str] | None = None,
    by_button_only: Collection[str] = (),
) -> Iterator[Finding]:
    """What `parse` answers as errors, beside those of the models.

    `runbooks`: of each runbook its parameters, each with its kind of value and whether it is needed; `kinds`: what its
    services are, worker or pages.
    """
    yield from _blanks(data, ())
    yield from name_checks.errors(data)
    yield from _labels(data)
    yield from _kinds_of_labels(data, kinds or {})
    yield from _labels_of_buttons(data, by_button_only)
    if runbooks is not None:
        yield from _runbooks(data, runbooks)
    secrets = _secrets(data)
    yield from probe_checks.errors(data, secrets=secrets | _admin_tokens(data))
    for path, service in services(data):
        yield from _kinds(path, service)
        for name, each in mapping(service.get("durable_objects")).items():
            if isinstance(token := at(each, "token"), str) and token in secrets:
                where = (*path, "durable_objects", name, "token")
                yield where, "a secret of the run; no application gets one: name the variable of its own token"
        for variable in mapping(at(service, "build", "env")).keys() & (secrets | _admin_tokens(data)):
            yield (*path, "build", "env", variable), "a secret of the run; no build ever gets one: leave it out"
    yield from secret_checks.errors(data, secrets=secrets)
    yield from runtime_checks.errors(data)


def warnings(data: Any) -> Iterator[Finding]:
    yield from _shared_accounts(data)
    for path, service in services(data):
        if not items(service.get("probes")):
            yield path, "no probes; without one no recovery of this service can be proved"
    for index, contact in enumerate(items(at(data, "contacts"))):
        for key, value in mapping(contact).items():
            if _is_placeholder(value):
                yield ("contacts", index, key), "still a placeholder; write what a person on call needs"
    for index, login in enumerate(items(at(data, "responders"))):
        if login == "TBD":
            yield ("responders", index), "still a placeholder; write a GitHub login"


def _blanks(value: Any, path: Path) -> Iterator[Finding]:
    """A key with nothing after it is a forgotten value; only the expected JSON value of a probe may be null."""
    if value is None and path[-3:-1] != ("http", "json"):
        yield path, "empty; write a value, or leave the key out" if path else "an empty file; write environments"
    for key, child in _children(value):
        yield from _blanks(child, (*path, key))


def _labels(data: Any) -> Iterator[Finding]:
    environments = mapping(at(data, "environments"))
    for name, label in mapping(at(data, "labels")).items():
        environment = at(label, "environment")
        service = at(label, "params", "service")
        services = mapping(at(environments, environment, "services"))
        if not isinstance(environment, str):
            continue
        if environment not in environments:
            text = f'no environment "{shown(environment)}"{suggestion(environment, environments)}'
            yield ("labels", name, "environment"), text
        elif isinstance(service, str) and service not in services:
            text = f'no service "{shown(service)}" in {shown(environment)}{suggestion(service, services)}'
            yield ("labels", name, "params", "service"), text


def _kinds_of_labels(data: Any, kinds: Mapping[str, str]) -> Iterator[Finding]:
    for name, label in mapping(at(data, "labels")).items():
        runbook, environment, called = (
            at(label, *keys) for keys in (("runbook",), ("environment",), ("params", "service"))
        )
        service = mapping(at(data, "environments", environment, "services", called))
        kind = kinds.get(runbook) if isinstance(runbook, str) else None
        if kind and service.keys() & KINDS.keys() and kind not in service:
            yield ("labels", name, "params", "service"), f"{shown(called)} has no {kind}, and {runbook} needs one"


def _labels_of_buttons(data: Any, by_button_only: Collection[str]) -> Iterator[Finding]:
    for name, label in mapping(at(data, "labels")).items():
        runbook = at(label, "runbook")
        if isinstance(runbook, str) and runbook in by_button_only:
            why = "a label's job holds a token, and this one builds an old commit"
            yield ("labels", name, "runbook"), f"no label may start {runbook}: {why}; use its button"


def _runbooks(data: Any, runbooks: Mapping[str, Mapping[str, tuple[type, bool]]]) -> Iterator[Finding]:
    for name, label in mapping(at(data, "labels")).items():
        runbook, params = at(label, "runbook"), mapping(at(label, "params"))
        if not isinstance(runbook, str):
            continue
        if runbook not in runbooks:
            yield ("labels", name, "runbook"), f'no runbook "{shown(runbook)}"{suggestion(runbook, runbooks)}'
            continue
        known = runbooks[runbook]
        for parameter, value in params.items():
            if parameter not in known:
                text = f'no parameter "{shown(parameter)}" of {runbook}{suggestion(parameter, known)}'
                yield ("labels", name, "params", parameter), text
            elif not isinstance(value, known[parameter][0]):
                yield (
                    ("labels", name, "params", parameter),
                    f"{strict_yaml.kind(value)}; write {_WRITE[known[parameter][0]]}",
                )
        for parameter, (_, is_needed) in known.items():
            if is_needed and parameter not in params:
                yield ("labels", name, "params"), f"{parameter} is missing; {runbook} cannot run without it"


def _kinds(path: Path, service: Mapping[str, Any]) -> Iterator[Finding]:
    given = [kind for kind in KINDS if kind in service]
    if not given:
        yield (*path, "worker"), "missing; add it, or pages for a site of Pages"
    if len(given) > 1:
        yield (*path, "pages"), "worker stands there too; write exactly one of them"
    for kind in KINDS.keys() - given if given else ():
        for key in service.keys() & {*KINDS[kind]}:
            yield (*path, key), f"only a service with {kind} has it; leave it out"


def _shared_accounts(data: Any) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for name, environment in mapping(at(data, "environments")).items():
        account = environment["account_id"]
        if account in first:
            text = f"the same account as {first[account]}; a mistake here reaches both, so use a separate one"
            yield ("environments", name, "account_id"), text
        first.setdefault(account, name)


def _secrets(data: Any) -> set[str]:
    """Names of the secrets that the run itself holds."""
    tokens = [at(environment, "token") for environment in mapping(at(data, "environments")).values()]
    webhooks = [at(target, "webhook") for target in mapping(at(data, "notify")).values()]
    return {name for name in [*tokens, *webhooks] if isinstance(name, str)} | SECRETS_OF_THE_RUN


def _admin_tokens(data: Any) -> set[str]:
    objects = (mapping(service.get("durable_objects")) for _, service in services(data))
    tokens = (at(each, "token") for found in objects for each in found.values())
    return {token for token in tokens if isinstance(token, str)}


def _is_placeholder(value: Any) -> bool:
    return isinstance(value, tuple) or (isinstance(value, str) and (value == "TBD" or value[:1] + value[-1:] == "[]"))


def _children(value: Any) -> Iterator[tuple[str | int, Any]]:
    return iter(value.items() if isinstance(value, dict) else enumerate(items(value)))
