"""Checks of `ops.yml` across models: names, labels, probes, runtime and secrets.

They read plain data, so that their problems are reported together with those of the models. Data of a wrong type is
skipped here, because the models report it.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ops.config.label_checks import LabelRules, find_label_errors
from ops.config.notify import list_chat_secrets
from ops.config.staging_drill import find_staging_drill_errors
from ops.config.status_page import find_status_page_errors
from ops.config.strict_yaml import KeyPath, as_items, as_mapping, get_nested
from ops.core.names import (
    HOLD_LIFT,
    LEAD_LABEL,
    NEW_PREFIX,
    OLD_PREFIX,
    RECOVERY_PREFIX,
    STATUS_LABEL,
    did_you_mean,
    quote_name,
)
from ops.core.runtime_contract import AI_SWITCH, BANNER_LEVELS, BANNER_SWITCH, MAINTENANCE_SWITCH, NORMAL_STATES

_ONLY = {"generate": ("length", "alphabet"), "provided": ("min_length",)}

ConfigProblem = tuple[KeyPath, str]


def iter_services(data: Any) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Yield the services of all environments with their paths."""
    for environment, holder in as_mapping(get_nested(data, "environments")).items():
        for name, service in as_mapping(get_nested(holder, "services")).items():
            if isinstance(service, dict):
                yield ("environments", environment, "services", name), service


DEFAULT_TOKEN = "CLOUDFLARE_API_TOKEN"  # noqa: S105 - the name of a variable
KINDS = {
    "worker": ("static_assets", "rehearse", "durable_objects"),
    "pages": ("compare", "build"),
}
"""Kind of a service, which is the key that names it → keys that only this kind has."""
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


def find_config_errors(data: Any, rules: LabelRules, labels: Collection[str] | None) -> Iterator[ConfigProblem]:
    """Yield the errors besides those of the models. `labels`: those of `check_config`."""
    every = as_mapping(get_nested(data, "labels"))
    started = {name: label for name, label in every.items() if labels is None or name.casefold() in labels}
    yield from _check_blank_keys(data, ())
    yield from find_name_errors(data)
    yield from _check_approvals(data)
    yield from _check_databases(data)
    yield from find_label_errors(data, started, rules)
    secrets = _job_secret_names(data)
    yield from find_url_errors(data)
    yield from find_probe_errors(data, secrets=secrets | _admin_tokens(data))
    for path, service in iter_services(data):
        yield from _check_service_kind(path, service)
        for name, each in as_mapping(service.get("durable_objects")).items():
            if isinstance(token := get_nested(each, "token"), str) and token in secrets:
                where = (*path, "durable_objects", name, "token")
                yield where, "a secret of the run, which no application may get; name the variable of its own token"
        for variable in as_mapping(get_nested(service, "build", "env")).keys() & (secrets | _admin_tokens(data)):
            yield (*path, "build", "env", variable), "a secret of the run, which no build may get; leave it out"
    yield from find_secret_errors(data, secrets=secrets)
    yield from find_runtime_errors(data)
    yield from find_staging_drill_errors(data)
    yield from find_status_page_errors(data)


def find_config_warnings(data: Any) -> Iterator[ConfigProblem]:
    yield from _shared_access(data)
    yield from _unknown_places(data)
    for path, service in iter_services(data):
        if not as_items(service.get("probes")):
            yield path, "no probes; without one no recovery of this service can be proved"
        names_version = (get_nested(each, "http", "version") for each in as_items(service.get("probes")))
        if service.get("rehearse") is True and not any(names_version):
            yield (*path, "rehearse"), "no http probe has version, so no rollback is rehearsed; set it in a probe"
    for index, contact in enumerate(as_items(get_nested(data, "contacts"))):
        for key, value in as_mapping(contact).items():
            if _is_placeholder(value):
                yield ("contacts", index, key), "still a placeholder; write what a person on call needs"
    for index, login in enumerate(as_items(get_nested(data, "responders"))):
        if login == "TBD":
            yield ("responders", index), "still a placeholder; write a GitHub login"
    if get_nested(data, "action_items", "required_from") and not get_nested(data, "github", "schedules", "doctor"):
        yield ("action_items", "required_from"), "nothing reminds without a schedule; add doctor to github.schedules"
    responders = {str(login).lower() for login in as_items(get_nested(data, "responders"))}
    for index, login in enumerate(as_items(get_nested(data, "github", "leads"))):
        if responders and str(login).lower() not in responders:
            yield ("github", "leads", index), "not one of the responders, so this person can lead no incident"


def _check_blank_keys(value: Any, path: KeyPath) -> Iterator[ConfigProblem]:
    """Find keys without a value. Only the expected JSON value of a probe may be null."""
    if value is None and path[-3:-1] != ("http", "json"):
        yield path, "empty; write a value, or leave the key out" if path else "an empty file; write environments"
    for key, child in _child_values(value):
        yield from _check_blank_keys(child, (*path, key))


def _check_approvals(data: Any) -> Iterator[ConfigProblem]:
    if get_nested(data, "github", "environments") is not False:
        return
    for name, environment in as_mapping(get_nested(data, "environments")).items():
        if as_items(get_nested(environment, "approval")):
            text = "a GitHub plan without environments has no reviewers; leave it out, or use a plan with environments"
            yield ("environments", name, "approval"), text


def _check_databases(data: Any) -> Iterator[ConfigProblem]:
    for name, environment in as_mapping(get_nested(data, "environments")).items():
        known = as_mapping(get_nested(environment, "services"))
        first: dict[str, str] = {}
        for database, settings in as_mapping(get_nested(environment, "databases")).items():
            if (same := first.setdefault(str(get_nested(settings, "id")), database)) != database:
                yield ("environments", name, "databases", database, "id"), f"same id as {same}; keep one of them"
            for index, used_by in enumerate(as_items(get_nested(settings, "services"))):
                if isinstance(used_by, str) and used_by not in known:
                    where = ("environments", name, "databases", database, "services", index)
                    yield where, f'no service "{quote_name(used_by)}" in {name}{did_you_mean(used_by, known)}'


def _check_service_kind(path: KeyPath, service: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    given = [kind for kind in KINDS if kind in service]
    if not given:
        yield (*path, "worker"), "missing; add it, or pages for a site of Pages"
    if len(given) > 1:
        yield (*path, "pages"), "both worker and pages; keep one of them"
    for kind in KINDS.keys() - given if given else ():
        for key in service.keys() & {*KINDS[kind]}:
            yield (*path, key), f"only a service with {kind} has it; leave it out"
    if "worker" not in given and get_nested(service, "guard", "on_bad") == "rollback":
        yield (*path, "guard", "on_bad"), "a guard rolls back no Pages site; write report"


def _shared_access(data: Any) -> Iterator[ConfigProblem]:
    first: dict[str, str] = {}
    for name, environment in as_mapping(get_nested(data, "environments")).items():
        account, token = environment["account_id"], environment.get("token", DEFAULT_TOKEN)
        if account in first:
            text = f"same account as {first[account]}; a mistake here affects both, so use a separate account"
            yield ("environments", name, "account_id"), text
        elif token in first:
            text = f"same token as {first[token]}, so a job of one can change both; name a token for each"
            yield ("environments", name, "token"), text
        first.setdefault(account, name)
        first.setdefault(token, name)


def _unknown_places(data: Any) -> Iterator[ConfigProblem]:
    for name, environment in as_mapping(get_nested(data, "environments")).items():
        if "token_location" not in as_mapping(environment):
            token = as_mapping(environment).get("token", DEFAULT_TOKEN)
            yield ("environments", name), f"no token_location; write where people find {token} for a laptop"
    for path, service in iter_services(data):
        for name, each in as_mapping(service.get("durable_objects")).items():
            if get_nested(each, "token") and "token_location" not in each:
                where = (*path, "durable_objects", name)
                yield where, f"no token_location; write where people find {each['token']} for a laptop"


def _job_secret_names(data: Any) -> set[str]:
    """Return the names of the secrets of the run itself."""
    tokens = [get_nested(environment, "token") for environment in as_mapping(get_nested(data, "environments")).values()]
    chats = [name for _, name in list_chat_secrets(data)]
    page = get_nested(data, "status_page", "token")
    return {name for name in [*tokens, *chats, page] if isinstance(name, str)} | SECRETS_OF_THE_RUN


def _admin_tokens(data: Any) -> set[str]:
    objects = (as_mapping(service.get("durable_objects")) for _, service in iter_services(data))
    tokens = (get_nested(each, "token") for found in objects for each in found.values())
    return {token for token in tokens if isinstance(token, str)}


def _is_placeholder(value: Any) -> bool:
    return isinstance(value, tuple) or (isinstance(value, str) and (value == "TBD" or value[:1] + value[-1:] == "[]"))


def _child_values(value: Any) -> Iterator[tuple[str | int, Any]]:
    return iter(value.items() if isinstance(value, dict) else enumerate(as_items(value)))


def find_secret_errors(data: Any, *, secrets: set[str]) -> Iterator[ConfigProblem]:
    """Yield errors of rotated secrets. `secrets` names those of the run itself."""
    for name, environment in as_mapping(get_nested(data, "environments")).items():
        services = as_mapping(get_nested(environment, "services"))
        for secret, rule in as_mapping(get_nested(environment, "secrets")).items():
            path: KeyPath = ("environments", name, "secrets", secret)
            if secret in secrets or any(before + secret in secrets for before in (NEW_PREFIX, OLD_PREFIX)):
                yield path, "a secret of the run, which no Worker may have; rename the Worker's secret"
            yield from _check_consumers(path, rule, services)
            yield from _check_proofs(path, rule, services)
            yield from _check_useless_keys(path, rule)


def _check_consumers(path: KeyPath, rule: Any, services: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    listed: set[str] = set()
    consumers, rotate = as_items(get_nested(rule, "consumers")), get_nested(rule, "rotate")
    sites = [each for each in consumers if isinstance(each, str) and "pages" in as_mapping(services.get(each))]
    if sites and len(sites) == len(consumers) and rotate in {"provided", "generate"}:
        yield (*path, "consumers"), "no consumer has a worker, so no run can rotate it; write rotate: never"
    elif sites and rotate == "generate":
        yield (*path, "rotate"), f"no person can set a generated value in {sites[0]}; write rotate: provided"
    for index, consumer in enumerate(consumers):
        if not isinstance(consumer, str):
            continue
        where = (*path, "consumers", index)
        if consumer not in services:
            yield where, f'no service "{quote_name(consumer)}" in {path[1]}{did_you_mean(consumer, services)}'
        elif consumer in listed:
            yield where, f"{quote_name(consumer)} is listed twice; keep one"
        listed.add(consumer)


def _check_proofs(path: KeyPath, rule: Any, services: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    consumers = [each for each in as_items(get_nested(rule, "consumers")) if isinstance(each, str)]
    for consumer, requests in as_mapping(get_nested(rule, "proofs")).items():
        where = (*path, "proofs", consumer)
        if consumer not in consumers:
            yield where, f'no consumer "{quote_name(consumer)}" of this secret{did_you_mean(consumer, consumers)}'
        elif "pages" in as_mapping(services.get(consumer)):
            yield where, f"{quote_name(consumer)} has no worker, and a proof echoes a Worker's version; leave it out"
        for index, request in enumerate(as_items(requests)):
            if isinstance(request, dict) and "version" not in request:
                yield (
                    (*where, index),
                    "a proof without version; write the JSON path where the answer echoes the Worker's version",
                )


def _check_useless_keys(path: KeyPath, rule: Any) -> Iterator[ConfigProblem]:
    for kind, keys in _ONLY.items():
        for key in keys:
            if key in as_mapping(rule) and get_nested(rule, "rotate") != kind:
                yield (*path, key), f"only a secret with rotate: {kind} has it; leave it out"


def find_runtime_errors(data: Any) -> Iterator[ConfigProblem]:
    for name, environment in as_mapping(get_nested(data, "environments")).items():
        path: KeyPath = ("environments", name, "runtime")
        runtime = as_mapping(get_nested(environment, "runtime"))
        yield from _by_switch(path, runtime, as_mapping(get_nested(environment, "services")))
        if runtime:
            yield from _check_runtime_service(path, runtime, as_mapping(get_nested(environment, "services")))
            yield from _check_raised_limits(path, runtime)
            yield from _check_ai_providers(path, runtime, as_mapping(get_nested(environment, "secrets")))


def _check_runtime_service(
    path: KeyPath, runtime: Mapping[str, Any], services: Mapping[str, Any]
) -> Iterator[ConfigProblem]:
    called = get_nested(runtime, "service")
    if isinstance(called, str) and called not in services:
        yield (*path, "service"), f'no service "{quote_name(called)}" in {path[1]}{did_you_mean(called, services)}'
    elif isinstance(called, str) and "pages" in as_mapping(services[called]):
        yield (*path, "service"), f"{quote_name(called)} has no worker, and only a Worker reads KV"


def _by_switch(path: KeyPath, runtime: Mapping[str, Any], services: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    """Only the service that reads the switches can use the maintenance method `switch`."""
    for name, service in services.items():
        if get_nested(service, "maintenance") == "switch" and (
            get_nested(runtime, "service") != name or not get_nested(runtime, "switches", MAINTENANCE_SWITCH)
        ):
            text = (
                f"needs a runtime whose service is {quote_name(name)}, with a switch {MAINTENANCE_SWITCH}; "
                "write it, or edge here"
            )
            yield (path[0], path[1], "services", name, "maintenance"), text


def _check_raised_limits(path: KeyPath, runtime: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    names = [each for each in as_items(get_nested(runtime, "limits", "names")) if isinstance(each, str)]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield (*path, "limits", "names", index), f"{quote_name(name)} is listed twice; keep one"
    for name in as_mapping(get_nested(runtime, "limits", "raises")):
        if name not in names:
            yield (
                (*path, "limits", "raises", name),
                f'no limit "{quote_name(name)}" among names{did_you_mean(name, names)}',
            )


def _check_ai_providers(
    path: KeyPath, runtime: Mapping[str, Any], secrets: Mapping[str, Any]
) -> Iterator[ConfigProblem]:
    """Check the states of the switches of the contract, and the secrets of the AI providers."""
    order = [each for each in as_items(get_nested(runtime, "ai", "order")) if isinstance(each, str)]
    expected = {MAINTENANCE_SWITCH: ["off", "on"], **({AI_SWITCH: ["auto", *order, "off"]} if order else {})}
    for name, states in expected.items():
        switch = get_nested(runtime, "switches", name)
        if isinstance(switch, dict) and list(as_items(get_nested(switch, "states"))) != states:
            yield (
                (*path, "switches", name, "states"),
                f"wrong states for {name}; write [{', '.join(states)}], with quotes",
            )
    banner, known = get_nested(runtime, "switches", BANNER_SWITCH), [NORMAL_STATES[BANNER_SWITCH], *BANNER_LEVELS]
    states = list(as_items(get_nested(banner, "states")))
    if banner is not None and (states[:1] != known[:1] or {*map(str, states)} - {*known}):
        text = f'wrong states for {BANNER_SWITCH}; write some of [{", ".join(known)}], with quotes, "off" first'
        yield (*path, "switches", BANNER_SWITCH, "states"), text
    if order and AI_SWITCH not in as_mapping(get_nested(runtime, "switches")):
        yield (
            (*path, "ai"),
            f"a switch named {AI_SWITCH} is missing under switches, with the states auto, {', '.join(order)}, off",
        )
    for provider, secret in as_mapping(get_nested(runtime, "ai", "keys")).items():
        where = (*path, "ai", "keys", provider)
        if provider not in order:
            yield where, f'no provider "{quote_name(provider)}" in order{did_you_mean(provider, order)}'
        elif isinstance(secret, str) and not get_nested(secrets, secret, "provider"):
            yield (
                where,
                f"{quote_name(secret)} has no provider under secrets; name a secret that has one",
            )


def find_url_errors(data: Any) -> Iterator[ConfigProblem]:
    """Yield the parts of services without a url that send requests to it."""
    for path, service in iter_services(data):
        if "url" in service:
            continue
        if "pages" in service:
            yield (*path, "url"), "missing; add it"
            continue
        for index in _requesting_probes(service):
            yield (*path, "probes", index), f"{NO_URL}, or write a command probe"
        if as_mapping(service.get("durable_objects")):
            yield (*path, "durable_objects"), f"{NO_URL}: their endpoints are below it"
        if service.get("maintenance") == "switch":
            yield (*path, "maintenance"), f"{NO_URL}: its answer 503 shows that it is closed"
    for name, environment in as_mapping(get_nested(data, "environments")).items():
        yield from _of_others(("environments", name), environment)


NO_URL = "needs the url of the service; add it"


def _requesting_probes(holder: Any) -> Iterator[int]:
    """Yield the numbers of the probes that send requests."""
    for index, probe in enumerate(as_items(get_nested(holder, "probes"))):
        if not as_mapping(probe).keys().isdisjoint(("http", "page", "browser")):
            yield index


def _of_others(path: KeyPath, environment: Any) -> Iterator[ConfigProblem]:
    """Find endpoints and probes that belong to a service without a url, and stand elsewhere in the environment."""
    services = as_mapping(get_nested(environment, "services"))
    without = {name for name, each in services.items() if isinstance(each, dict) and "url" not in each}
    runtime = get_nested(environment, "runtime")
    if get_nested(runtime, "service") in without:
        yield (*path, "runtime", "service"), f"{NO_URL}: it shows limits and switches there"
    for database, each in as_mapping(get_nested(environment, "databases")).items():
        if next(iter(as_items(get_nested(each, "services"))), None) in without:
            yield from (((*path, "databases", database, "probes", index), NO_URL) for index in _requesting_probes(each))
    for secret, rule in as_mapping(get_nested(environment, "secrets")).items():
        for service in as_mapping(get_nested(rule, "proofs")).keys() & without:
            yield (*path, "secrets", secret, "proofs", service), NO_URL


def find_probe_errors(data: Any, *, secrets: set[str]) -> Iterator[ConfigProblem]:
    """Yield errors of probes. `secrets` names variables that no program and no page may get."""
    for path, service in iter_services(data):
        yield from _browsers_alone(path, service)
        names: set[str] = set()
        yield from _check_probes(path, service, secrets=secrets, names=names)
        for name, each in as_mapping(service.get("durable_objects")).items():
            yield from _check_probes((*path, "durable_objects", name), each, secrets=secrets, names=names)
    for name, environment in as_mapping(get_nested(data, "environments")).items():
        yield from _probes_of_switches(name, environment, secrets=secrets)
        for database, each in as_mapping(get_nested(environment, "databases")).items():
            beside = _probe_names(environment, *as_items(get_nested(each, "services"))[:1])
            yield from _check_probes(("environments", name, "databases", database), each, secrets=secrets, names=beside)


def _probes_of_switches(name: str, environment: Any, *, secrets: set[str]) -> Iterator[ConfigProblem]:
    """Check the probes of switches. Only one switch is set at a time, so two may share a probe's name."""
    for switch, each in as_mapping(get_nested(environment, "runtime", "switches")).items():
        path = ("environments", name, "runtime", "switches", switch)
        if switch == MAINTENANCE_SWITCH and as_items(get_nested(each, "probes")):
            yield (*path, "probes"), "never run, because a closed service is not healthy; leave them out"
        beside = _probe_names(environment, get_nested(environment, "runtime", "service"))
        yield from _check_probes(path, each, secrets=secrets, names=beside)


def _probe_names(environment: Any, *service: Any) -> set[str]:
    names = (get_nested(each, "name") for each in as_items(get_nested(environment, "services", *service, "probes")))
    return {name for name in names if isinstance(name, str)}


def _browsers_alone(path: KeyPath, service: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    if (all_of_them := as_items(service.get("probes"))) and all("browser" in as_mapping(each) for each in all_of_them):
        text = "only browser probes, which start after all others are healthy; add an http or page probe"
        yield (*path, "probes"), text


def _check_probes(path: KeyPath, holder: Any, *, secrets: set[str], names: set[str]) -> Iterator[ConfigProblem]:
    """Check the probes of `holder`. `names` holds the names that are taken, and gets theirs."""
    for index, probe in enumerate(as_items(get_nested(holder, "probes"))):
        name = get_nested(probe, "name")
        if isinstance(name, str) and name in names:
            yield (*path, "probes", index, "name"), "another probe of this service has this name; write a different one"
        names |= {name} if isinstance(name, str) else set()
        for position, variable in enumerate(as_items(get_nested(probe, "command", "environment"))):
            if isinstance(variable, str) and variable in secrets:
                where = (*path, "probes", index, "command", "environment", position)
                yield where, "a secret of the run, which no probe's command may get; leave it out"
        for kind in ("http", "page"):
            for header, variable in as_mapping(get_nested(probe, kind, "request_headers")).items():
                if isinstance(variable, str) and variable in secrets:
                    where = (*path, "probes", index, kind, "request_headers", header)
                    yield where, "a secret of the run, which no probe may send; name a variable for this header alone"
        for position, step in enumerate(as_items(get_nested(probe, "browser", "steps"))):
            variable = get_nested(step, "fill", "variable")
            if isinstance(variable, str) and variable in secrets:
                where = (*path, "probes", index, "browser", "steps", position, "fill", "variable")
                yield where, "a secret of the run, which no page may get; name the variable of a test login"


RESERVED_LABELS = ("approve:", LEAD_LABEL, "ops:", "actions:", STATUS_LABEL)
RESERVED_BEGINNINGS = ("GITHUB_", "ACTIONS_", "RUNNER_", "INPUT_", "OPS_")
"""Prefixes of GitHub (docs.github.com/actions/reference/workflows-and-actions/variables) and, last, of Backout."""
RESERVED = {"GH_TOKEN", "GH_SECRETS_TOKEN", "GH_SECRETS_APP_ID", "GH_SECRETS_APP_KEY", "APP_REPO_TOKEN", "CI"}
OF_STEPS = {"BASH_ENV", "HOME", "LANG", "LD_PRELOAD", "PATH", "PYTHONHOME", "PYTHONPATH"}
"""Variables that a step of our actions reads or sets."""
LONGEST_LABEL = 50


def find_name_errors(data: Any) -> Iterator[ConfigProblem]:
    yield from _check_label_names(data)
    for path, name in _secret_variables(data):
        if not isinstance(name, str) or (len(path) > 3 and name in SECRETS_OF_THE_RUN):
            continue  # the checks of probes and of Durable Objects name those
        if name in RESERVED | OF_STEPS or name.startswith(RESERVED_BEGINNINGS):
            yield path, f'"{quote_name(name)}" is reserved in a job; use another name'


def _check_label_names(data: Any) -> Iterator[ConfigProblem]:
    first: dict[str, str] = {}
    for name in as_mapping(get_nested(data, "labels")):
        if not name or len(name) > LONGEST_LABEL:
            continue
        folded, path = name.casefold(), ("labels", name)
        if "${{" in name:
            yield path, "GitHub reads ${{ as an expression; leave it out"
        if not name.isascii():
            yield path, "has letters outside ASCII, which may look like others; use ASCII letters only"
        elif reserved := next((each for each in RESERVED_LABELS if folded.startswith(each)), None):
            yield path, f"the prefix {reserved} is reserved; start the name with {RECOVERY_PREFIX}"
        elif name != HOLD_LIFT and (not name.startswith(RECOVERY_PREFIX) or name == RECOVERY_PREFIX):
            yield path, f"a label that starts a runbook needs the prefix {RECOVERY_PREFIX}; add it"
        elif folded in first:
            yield path, f"equal to {quote_name(first[folded])} on GitHub, which ignores case; rename one of them"
        first.setdefault(folded, name)


def _secret_variables(data: Any) -> Iterator[tuple[KeyPath, Any]]:
    """Yield path and name of each variable that a job gets from a secret."""
    for name, environment in as_mapping(get_nested(data, "environments")).items():
        yield ("environments", name, "token"), get_nested(environment, "token")
    yield from list_chat_secrets(data)
    yield ("status_page", "token"), get_nested(data, "status_page", "token")
    for path, service in iter_services(data):
        yield from _variables_of_probes(path, service)
        for name, each in as_mapping(service.get("durable_objects")).items():
            yield (*path, "durable_objects", name, "token"), get_nested(each, "token")
            yield from _variables_of_probes((*path, "durable_objects", name), each)
    for name, environment in as_mapping(get_nested(data, "environments")).items():
        for place in (("runtime", "switches"), ("databases",)):
            for key, each in as_mapping(get_nested(environment, *place)).items():
                yield from _variables_of_probes(("environments", name, *place, key), each)


def _variables_of_probes(path: KeyPath, holder: Any) -> Iterator[tuple[KeyPath, Any]]:
    for index, probe in enumerate(as_items(get_nested(holder, "probes"))):
        where = (*path, "probes", index)
        for position, name in enumerate(as_items(get_nested(probe, "command", "environment"))):
            yield (*where, "command", "environment", position), name
        for kind in ("http", "page"):
            for header, name in as_mapping(get_nested(probe, kind, "request_headers")).items():
                yield (*where, kind, "request_headers", header), name
        for position, step in enumerate(as_items(get_nested(probe, "browser", "steps"))):
            yield (*where, "browser", "steps", position, "fill", "variable"), get_nested(step, "fill", "variable")
