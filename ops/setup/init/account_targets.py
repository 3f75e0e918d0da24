"""Rollback targets of all Workers and Pages projects of a token, without an ops.yml.

It writes the ops.yml that `ops init` would propose, in memory only, and plans with it like `ops targets`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ops.app.configuration import TOKENS, program_name
from ops.app.scope import DEFAULT_CONFIG, Place
from ops.app.session import find_addresses
from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.response import CloudflareApiError, ErrorKind
from ops.cloudflare.tokens import AccountsApi
from ops.cloudflare.types.inventory import NamedResource
from ops.config import parse_config
from ops.config.checks import DEFAULT_TOKEN
from ops.config.types import ACCOUNT
from ops.core.clock import format_utc
from ops.core.errors import ConfigError, OpsError, ProviderError, Reason
from ops.core.names import count_of, first_of, quote_name
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.core.threads import run_in_batches, run_in_time, run_parallel_mixed
from ops.github.stops import StopAnswer
from ops.probes.http import ProbeClient
from ops.render import to_one_line
from ops.setup.init.accounts import open_clients, propose_environments, token_variables
from ops.setup.init.earlier_config import EXAMPLE
from ops.setup.init.proposal import (
    ConfigProposal,
    EnvironmentProposal,
    ProbeProposal,
    ServiceProposal,
    propose_probe,
    render_config,
)
from ops.setup.init.resources import Inventory, InventoryReader, Resource, service_names, unread_inventory_reason
from ops.setup.team_file import find_text
from ops.status import signs
from ops.status.targets import (
    MOST_NAMED,
    MOST_SERVICES,
    ServiceTarget,
    TargetGroup,
    TargetState,
    TargetTable,
    explanation_lines,
    plan_targets,
    render_groups,
    table_row,
    target_column_lines,
)
from ops.tools.own_program import ROOT

ACCOUNT_VARIABLE = "CLOUDFLARE_ACCOUNT_ID"
ACCOUNTS_AT_ONCE = 4
"""Accounts that are listed at the same time: each takes five calls of the client's connections."""
MAX_PROBES = 20
"""Services that get requests at the same time."""
MOST_LINES = 20
"""Lines about what was not checked."""
ANSWERS, NO_URL = "answers", "no URL known"
HEADING = "Without an ops.yml of your own: all Workers and Pages projects that your token can read. Nothing is written."


@dataclass(frozen=True)
class AccountTargets:
    """Targets of one account. People choose its name, so it is untrusted text."""

    id: str
    name: str
    environment: str
    """Name that `ops init` would propose for it in ops.yml."""
    targets: tuple[ServiceTarget, ...]
    names: tuple[str, ...]
    """Name of each target in the table."""
    unread: tuple[str, ...]
    """Lists and services that could not be read, with the reasons."""
    is_complete: bool
    """Whether each Worker and each Pages project of the account is among the targets."""

    @property
    def title(self) -> str:
        return f"{quote_name(self.name)} ({self.id})" if self.name else self.id

    @property
    def heading(self) -> str:
        read = count_of(len(self.targets), "service")
        return f"{self.environment}: {self.title}, {read}{'' if self.is_complete else ', others not read'}"

    def to_json(self) -> dict[str, Any]:
        unread = list(self.unread)
        return {"environment": self.environment, "id": self.id, "name": self.name, "unread": unread}


@dataclass(frozen=True)
class TokenTargets:
    """Targets of all accounts that a token can read."""

    table: TargetTable
    accounts: tuple[AccountTargets, ...]
    unlisted: tuple[str, ...]
    """Variables with a token whose accounts could not be listed."""
    unchecked: tuple[str, ...]
    """Facts that the table does not prove, for people."""
    next_step: str

    @property
    def error(self) -> OpsError | None:
        """The error of the command if a list or a service was not read."""
        unread = [str(each.place) for each in self.table.of_state(TargetState.UNKNOWN)]
        unread += [
            f"{'some' if each.targets else 'all'} services of {each.title}"
            for each in self.accounts
            if not each.is_complete
        ]
        unread += [f"accounts of {variable}" for variable in self.unlisted]
        if not unread:
            return None
        names = ", ".join(first_of(unread, MOST_NAMED))
        hint = (
            f"The reasons are above. Add the permissions that they name, or run `export {ACCOUNT_VARIABLE}=ID` to read "
            "one account alone."
        )
        return ProviderError(f"not read: {names}", reason=Reason.LIVE_UNKNOWN, hint=hint)

    def to_json(self) -> dict[str, Any]:
        return {
            **self.table.to_json(),
            "accounts": [each.to_json() for each in self.accounts],
            "unchecked": list(self.unchecked),
            "next": self.next_step,
            "exit_code": self.error.exit_code if self.error else 0,
        }

    def groups(self) -> Iterator[TargetGroup]:
        """Yield the rows of each account."""
        for account in self.accounts:
            named = zip(account.names, account.targets, strict=True)
            yield TargetGroup([table_row(name, each, self.table) for name, each in named], account.heading)


def is_without_config(path: Path) -> bool:
    """Return whether there is no ops.yml at the path, or only the example of Backout, unedited.

    Raises ConfigError if it cannot be read.
    """
    text = find_text(path)
    examples = [find_text(folder / EXAMPLE) for folder in (path.parent, ROOT)]  # a clone may have another version
    return text is None or text in examples


def read_token_targets(environ: Mapping[str, str], redactor: Redactor) -> TokenTargets:
    """Plan the rollback of each Worker and Pages project that the tokens read, and request its URL once.

    Sends only reads, and none to GitHub. The tokens are those of `token_variables`. Raises ConfigError if there is no
    usable token, or no account is known.
    """
    environ = {name: value for name, value in environ.items() if name not in TOKENS}
    base_url, edge_url, clock = find_addresses(environ)
    variables = token_variables(environ, ())
    if not variables:
        raise _missing_token()
    for name in variables:
        redactor.add_secret(environ[name])
    with ExitStack() as ending:
        clients = open_clients(variables, environ, base_url, clock, ending)
        web = ProbeClient(edge_url)
        ending.callback(web.close)
        listed, failed = _list_accounts(clients, environ.get(ACCOUNT_VARIABLE, ""))
        named = zip(propose_environments(listed), listed, strict=True)
        reads = [partial(_read_account, *each, clients) for each in named]
        accounts = _limit_services(run_in_batches(reads, ACCOUNTS_AT_ONCE))
        planned, answers = run_parallel_mixed(
            [partial(_plan_accounts, accounts, environ, redactor), partial(_request_urls, accounts, web)]
        )
        table = planned or TargetTable(clock.now(), (), 0, StopAnswer())
        calls = table.calls + sum(each.budget.made for each in clients.values())
        table = replace(table, calls=calls, stopped=StopAnswer())
        next_step = build_command(program_name(environ), "adopt", {})
        found: TokenTargets = redactor.redact_value(_describe_accounts(table, accounts, answers, failed, next_step))
        return found


def _missing_token() -> ConfigError:
    from ops.setup.init.command import read_only_token_url

    return ConfigError(
        f"there is no ops.yml of your own here, and {DEFAULT_TOKEN} is not set",
        reason=Reason.TOKEN_MISSING,
        hint=(
            f"To see your Workers and sites, run `export {DEFAULT_TOKEN}=TOKEN` with a token that only reads. Create "
            f"one: {read_only_token_url()}"
        ),
    )


@dataclass(frozen=True)
class _ListedAccount(NamedResource):
    """An account, and the variable with the first token that lists it."""

    variable: str


def _list_accounts(
    clients: Mapping[str, CloudflareClient], given: str
) -> tuple[Sequence[_ListedAccount], Mapping[str, ProviderError]]:
    """Return the given account, or else all that the tokens list, and the error of each token that lists none.

    Raises OpsError if no account is known.
    """
    if given and not re.fullmatch(ACCOUNT, given):
        raise ConfigError(
            f"{ACCOUNT_VARIABLE} is not an account ID",
            hint=f"Set it to the 32 hexadecimal digits of the Workers & Pages page, or run `unset {ACCOUNT_VARIABLE}`.",
        )
    found, failed = dict[str, _ListedAccount](), dict[str, ProviderError]()
    for variable, client in clients.items():
        try:
            for each in AccountsApi(client).list_accounts():
                found.setdefault(each.id, _ListedAccount(each.id, each.name, variable))
        except ProviderError as error:
            failed[variable] = error
    if given:
        return [found.get(given, _ListedAccount(given, "", next(iter(clients))))], {}
    if not found:
        raise _no_account(clients, failed)
    return list(found.values()), failed


def _no_account(variables: Iterable[str], failed: Mapping[str, ProviderError]) -> OpsError:
    """Return the error of tokens that list no account: that of Cloudflare, unless it refuses each of them."""
    for error in failed.values():
        if not (isinstance(error, CloudflareApiError) and error.kind is ErrorKind.AUTH):
            return error
    problem = next((error.message for error in failed.values()), "none is listed")
    return ConfigError(
        f"no account of the token in {', '.join(variables)} is known: {problem}",
        reason=Reason.NOT_AUTHORISED,
        hint=f"Check the token, or run `export {ACCOUNT_VARIABLE}=ID` with the ID of the account.",
    )


@dataclass(frozen=True)
class _Account:
    """An account as it was listed."""

    account: _ListedAccount
    environment: str
    inventory: Inventory
    services: Mapping[str, Resource]
    reader: InventoryReader

    def places(self) -> dict[Place, Resource]:
        return {Place(self.environment, name): each for name, each in self.services.items()}


def _read_account(environment: str, account: _ListedAccount, clients: Mapping[str, CloudflareClient]) -> _Account:
    reader = InventoryReader(clients[account.variable])
    inventory = reader.read_account(account.id, only_services=True)
    named = {name: each for each, name in service_names(inventory.resources).items()}
    return _Account(account, environment, inventory, named, reader)


def _limit_services(accounts: Iterable[_Account]) -> tuple[_Account, ...]:
    """Return the accounts with MOST_SERVICES services in all, because Cloudflare limits the calls."""
    limited, room = list[_Account](), MOST_SERVICES
    for each in accounts:
        kept = dict(islice(each.services.items(), room))
        inventory = each.inventory
        if rest := [name for name in each.services if name not in kept]:
            named = ", ".join(first_of(rest, MOST_NAMED))
            limit = f"One command reads {MOST_SERVICES} services, because Cloudflare limits the calls"
            each.reader.unread.append(f"{limit}. Left out: {named}")
            inventory = replace(inventory, is_complete=False)
        limited.append(replace(each, services=kept, inventory=inventory))
        room -= len(kept)
    return tuple(limited)


def _plan_accounts(accounts: Iterable[_Account], environ: Mapping[str, str], redactor: Redactor) -> TargetTable | None:
    """Return the table of the configuration that has these services; None without any."""
    environments = tuple(
        EnvironmentProposal(each.environment, each.account.id, tuple(_propose_services(each)), each.account.variable)
        for each in accounts
        if each.services
    )
    if not environments:
        return None
    config, _ = parse_config(render_config(ConfigProposal(environments)), path=str(DEFAULT_CONFIG))
    return plan_targets(config, "", DEFAULT_CONFIG, environ, redactor)


def _propose_services(account: _Account) -> Iterator[ServiceProposal]:
    """Yield the services as a plan needs them: only that of a site requests the URL."""
    for name, resource in account.services.items():
        address = next(iter(resource.addresses), None) if resource.kind == "pages" else None
        yield ServiceProposal(name, resource, address)


@dataclass(frozen=True)
class _AddressAnswer:
    """Answer of a URL: a word for the column of the health, and the problem if it was not clear."""

    health: str
    problem: str = ""


def _request_urls(accounts: Iterable[_Account], web: ProbeClient) -> dict[Place, _AddressAnswer]:
    """Request the URL of each service, and return the answers that are there in time."""
    calls = {
        place: partial(_request_url, account, resource, web)
        for account in accounts
        for place, resource in account.places().items()
    }
    return run_in_time(calls, MAX_PROBES, signs.SECONDS)


def _request_url(account: _Account, resource: Resource, web: ProbeClient) -> _AddressAnswer:
    address = next(iter(account.reader.read_addresses(account.inventory, resource)), None)
    if address is None:
        return _AddressAnswer(NO_URL)
    probe = propose_probe(web, address, frozenset(), counts_cached=resource.kind == "pages")
    return _AddressAnswer(ANSWERS) if isinstance(probe, ProbeProposal) else _AddressAnswer(signs.UNCLEAR, probe)


def _describe_accounts(
    table: TargetTable,
    accounts: Iterable[_Account],
    answers: Mapping[Place, _AddressAnswer],
    failed: Mapping[str, ProviderError],
    next_step: str,
) -> TokenTargets:
    late = _AddressAnswer(signs.NO_ANSWER)
    targets = tuple(_without_commands(each, answers.get(each.place, late).health) for each in table.targets)
    found = tuple(_describe_account(each, targets) for each in accounts)
    unchecked = [  # the reasons of the exit code first, because only MOST_LINES are shown
        *(f"accounts of {variable}: {unread_inventory_reason(error)}" for variable, error in failed.items()),
        *(f"{each.title}: {text}" for each in found for text in each.unread),
        "health: `answers` means that one request of /health or its own path got a status of 200 to 299",
        "migrations of databases, holds and earlier recoveries: only an operations repository knows them",
        *(f"{place}: {each.problem}" for place, each in answers.items() if each.problem),
    ]
    return TokenTargets(replace(table, targets=targets), found, tuple(failed), tuple(unchecked), next_step)


def _without_commands(target: ServiceTarget, health: str) -> ServiceTarget:
    """Return the target with its health. Its commands and those in its hint need an ops.yml."""
    hint = target.hint if target.state is TargetState.UNKNOWN else ""
    return replace(target, health=health, command="", hint=hint)


def _describe_account(account: _Account, targets: Iterable[ServiceTarget]) -> AccountTargets:
    own = tuple(each for each in targets if each.place.environment == account.environment)
    return AccountTargets(
        account.account.id,
        account.account.name,
        account.environment,
        own,
        tuple(_shown_name(each.place.service, account.services[each.place.service]) for each in own),
        tuple(sorted(account.reader.unread)),
        account.inventory.is_complete,
    )


def _shown_name(service: str, resource: Resource) -> str:
    """Return the name of the service, and that on Cloudflare if it differs."""
    return service if service == resource.name else f"{service} ({resource.kind} {quote_name(resource.name)})"


def token_target_lines(found: TokenTargets) -> Iterator[str]:
    """Yield the rows of each account, the explanations, what was not checked, and the next step."""
    yield HEADING
    yield f"Read at {format_utc(found.table.read_at)}"
    for group in found.groups():
        yield ""
        yield to_one_line(group.heading)
        if group.rows:
            yield from target_column_lines(group.rows)
    yield ""
    yield from explanation_lines(found.table)
    yield "Not checked:"
    yield from (f"  {to_one_line(line)}" for line in first_of(found.unchecked, MOST_LINES))
    yield f"Next, adopt Backout for them, in a repository of their own: `{found.next_step}`"


def render_token_targets(found: TokenTargets) -> str:
    """Return the same as Markdown that fits a phone."""
    notes = [HEADING, *(f"Not checked: {line}" for line in first_of(found.unchecked, MOST_LINES))]
    return render_groups(found.table, list(found.groups()), notes)
