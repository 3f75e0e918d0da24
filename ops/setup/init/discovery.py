"""Collect Workers and Pages sites for `ops init` as its options say, and propose services."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ops.cloudflare.client import CloudflareClient
from ops.config.types import ORIGIN, REPOSITORY
from ops.core.clock import Clock
from ops.core.errors import ConfigError
from ops.core.names import NAME_PATTERN, did_you_mean, quote_name
from ops.core.threads import run_in_batches, run_parallel
from ops.probes.http import ProbeClient
from ops.setup.init.accounts import AccountChoice, split_account_name
from ops.setup.init.earlier_config import ExistingEnvironment
from ops.setup.init.proposal import EnvironmentProposal, ProbeProposal, ServiceProposal, propose_compare, propose_probe
from ops.setup.init.questions import Questions, choose_numbered, parse_pairs, split_answer_list
from ops.setup.init.resources import (
    MAX_NAME_LENGTH,
    Address,
    Inventory,
    InventoryReader,
    Kind,
    Resource,
    is_usable_resource_name,
    read_wrangler_files,
    service_names,
)

AT_ONCE = 5
"""Services whose URLs are requested at the same time."""
KINDS: Mapping[Kind, str] = {"worker": "Worker", "pages": "Pages project"}
Chosen = tuple[str, Resource]
"""Service name and its Worker or site."""
Addressed = tuple[str, Resource, Address | None]
"""The same with its address; None for a Worker without one."""


@dataclass(frozen=True)
class InitRequest:
    """Flags of the command. Empty: ask, or accept the proposal."""

    accounts: tuple[str, ...] = ()
    """ID or ENVIRONMENT=ID."""
    workers: tuple[str, ...] = ()
    """WORKER or SERVICE=WORKER."""
    sites: tuple[str, ...] = ()
    """PROJECT or SERVICE=PROJECT."""
    urls: tuple[str, ...] = ()
    """SERVICE=URL."""
    tokens: tuple[str, ...] = ()
    """NAME or ENVIRONMENT=NAME."""
    repository: str = ""
    wrangler: tuple[Path, ...] = ()


@dataclass
class Discovery:
    """Proposes environments. `clients` is empty without a token, and Cloudflare is then not read."""

    request: InitRequest
    questions: Questions
    clients: Mapping[str, CloudflareClient]
    """Variable → client with its token, the default one first."""
    web: ProbeClient
    clock: Clock
    known_account: str = ""
    """Account of the variable CLOUDFLARE_ACCOUNT_ID."""
    unchecked: list[str] = field(default_factory=list)
    """Lines for people: lists that were not read, and services that were left out."""
    existing: Mapping[str, ExistingEnvironment] = field(default_factory=dict)
    """Environments in the ops.yml of an earlier run."""
    _environments: dict[str, str] = field(default_factory=dict)
    """Account ID → environment."""
    _without_address: list[str] = field(default_factory=list)
    """Services that were left out."""

    def propose(self) -> tuple[EnvironmentProposal, ...]:
        """Return the environments with at least one service. Raises ConfigError."""
        if self.request.repository and not re.fullmatch(REPOSITORY, self.request.repository):
            raise ConfigError("--repository is not a repository", hint="Write OWNER/NAME of the application.")
        files = read_wrangler_files(self.request.wrangler)
        choice = AccountChoice(self.questions, self.clients, self.existing)
        accounts = self._choose_accounts(choice, files)
        tokens = choice.token_names(self.request.tokens, accounts)
        readers = {each: found for name, each in accounts.items() if (found := choice.reader(tokens[name], each))}
        inventories = self._read_accounts(readers, choice)
        self._environments = {account: name for name, account in accounts.items()}
        chosen = self._choose_resources(self._merge_resources(inventories, files), files)
        detailed = _read_details(readers, inventories, [each for _, each in chosen])
        named = [(name, each) for (name, _), each in zip(chosen, detailed, strict=True)]
        services = self._propose_services(self._choose_addresses(named))
        for name in self._without_address:
            self.unchecked.append(
                f"{name}: no public address is known, so it was left out; pass --url {name}=URL, "
                "or --worker for a Worker without one"
            )
        self.unchecked += choice.unread
        if not readers:
            self.unchecked.append(
                "Cloudflare: CLOUDFLARE_API_TOKEN is not set, so no name was compared with the account"
            )
        environments = [
            EnvironmentProposal(
                name, account, tuple(s for s in services if s.resource.account_id == account), tokens[name]
            )
            for name, account in accounts.items()
        ]
        self.unchecked += [f"{each.name}: no service, so it was left out" for each in environments if not each.services]
        proposed = tuple(each for each in environments if each.services)
        if not proposed:
            raise ConfigError(
                "no service has an address that requests can reach",
                hint="Pass --worker NAME and --url NAME=https://HOST for each service.",
            )
        return proposed

    def _choose_accounts(self, choice: AccountChoice, files: Sequence[Resource]) -> dict[str, str]:
        known = dict.fromkeys(filter(None, (*(each.account_id for each in files), self.known_account)))
        return choice.choose(self.request.accounts, list(known))

    def _read_accounts(self, readers: Mapping[str, InventoryReader], choice: AccountChoice) -> list[Inventory]:
        """Read each account with its reader."""
        calls = [partial(reader.read_account, account) for account, reader in readers.items()]
        inventories = run_parallel(calls)
        for reader in readers.values():
            if reader.was_rejected:
                raise ConfigError(
                    f"the token in {choice.variable(reader)} can list neither Workers nor Pages projects",
                    hint='Give it "Workers Scripts Read" and "Pages Read" there, check --account, or unset it.',
                    problems=tuple(reader.unread),
                )
        return inventories

    # Services

    def _merge_resources(self, inventories: Sequence[Inventory], files: Sequence[Resource]) -> list[Resource]:
        """Return what Cloudflare lists, with the facts of the files; without a token, what the files name."""
        listed = [resource for inventory in inventories for resource in inventory.resources]
        if not inventories:
            first = next(iter(self._environments))
            named = [replace(each, account_id=each.account_id or first) for each in files]
            return [each for each in named if each.account_id in self._environments]
        for each in files:
            if not any(_is_same_resource(each, other) for other in listed):
                self.unchecked.append(f"{each.kind} {each.name} of a wrangler file is not in the account: left out")
        return [_with_facts(each, files) for each in listed]

    def _choose_resources(self, resources: list[Resource], files: Sequence[Resource]) -> list[Chosen]:
        wanted: list[tuple[Kind, str]] = [("worker", each) for each in self.request.workers]
        wanted += [("pages", each) for each in self.request.sites]
        if wanted:
            return _name_services([one for kind, each in wanted for one in self._find_resources(resources, kind, each)])
        if not resources:
            other = "check the account" if self.clients else "set CLOUDFLARE_API_TOKEN"
            raise ConfigError(
                "no Worker and no Pages project was found",
                hint=f"Pass --worker NAME, --pages NAME or --wrangler PATH, or {other}.",
            )
        proposed = [each for each in resources if any(_is_same_resource(each, other) for other in files)]
        proposed = proposed or [each for each in resources if each.is_production] or resources
        if self.questions.is_interactive:
            rows = [
                f"{number}. {each.name} ({self._describe_resource(each)})" for number, each in enumerate(resources, 1)
            ]
            text = "\n".join(["Services:", *rows, "Numbers to include, or NAME=NUMBER for another name"])
            default = ",".join(str(resources.index(each) + 1) for each in proposed)
            names = [each.name for each in resources]
            return self.questions.answer(
                text,
                lambda answer: _name_services(
                    [(name, resources[i]) for i, name in choose_numbered(answer, names).items()]
                ),
                default,
            )
        for each in resources:
            if each not in proposed:
                self.unchecked.append(f"{KINDS[each.kind]} {each.name}: left out; pass --{each.kind} to include it")
        return _name_services([("", each) for each in proposed])

    def _describe_resource(self, resource: Resource) -> str:
        """Return the kind, and the environment if there are several."""
        where = f" in {self._environments[resource.account_id]}" if len(self._environments) > 1 else ""
        return KINDS[resource.kind] + where

    def _find_resources(self, resources: Sequence[Resource], kind: Kind, given: str) -> list[Chosen]:
        """Return the Worker or site with this name, in each account that has it."""
        service, name = split_account_name(given, "")
        if not is_usable_resource_name(kind, name):
            raise ConfigError(
                f'"{quote_name(name)}" is not a name of a {KINDS[kind]}', hint="Write it as the dashboard shows it."
            )
        same = [each for each in resources if (each.kind, each.name) == (kind, name)]
        if not same and self.clients:
            names = [each.name for each in resources if each.kind == kind]
            raise ConfigError(
                f'no {KINDS[kind]} "{quote_name(name)}" in the account{did_you_mean(name, names)}',
                hint="Check the name and --account.",
            )
        return [(service, each) for each in same or [Resource(kind, name, next(iter(self._environments)))]]

    def _choose_addresses(self, chosen: Sequence[Chosen]) -> list[Addressed]:
        """Return the address of each service: given, or the first one known. Services without one are left out."""
        shown = self._shown_names(chosen)
        if not self.questions.is_interactive:
            return self._with_addresses(self.request.urls, chosen)
        rows = [
            f"{name}: {' or '.join(map(str, each.addresses[:3])) or 'no address known'}"
            for name, (_, each) in zip(shown, chosen, strict=True)
        ]
        text = "\n".join(
            ["URLs:", *rows, "Other URLs as NAME=URL, best with the path of a health check (Enter: the first of each)"]
        )
        return self.questions.answer(
            text, lambda answer: self._with_addresses((*self.request.urls, *split_answer_list(answer)), chosen)
        )

    def _with_addresses(self, urls: Sequence[str], chosen: Sequence[Chosen]) -> list[Addressed]:
        given, shown = parse_pairs(urls, what="SERVICE=URL"), self._shown_names(chosen)
        if unknown := next((name for name in given if name not in shown), None):
            raise ConfigError(
                f'the URL of "{quote_name(unknown)}": no such service{did_you_mean(unknown, shown)}',
                hint="Write SERVICE=URL with a service of the list.",
            )
        addressed, self._without_address = [], []
        for name, (service, resource) in zip(shown, chosen, strict=True):
            known = next(iter(resource.addresses), None)
            address = _given_address(name, given[name], resource) if name in given else known
            if address is None and not (resource.crons or self._is_named(resource)):
                self._without_address.append(name)
            else:
                addressed.append((service, resource, address))
        return addressed

    def _is_named(self, resource: Resource) -> bool:
        """Return whether `--worker` names it, so that it is included without an address."""
        return resource.kind == "worker" and resource.name in {
            split_account_name(each, "")[1] for each in self.request.workers
        }

    def _shown_names(self, chosen: Sequence[Chosen]) -> list[str]:
        """Return a name for each service: with its environment where two environments have it."""
        names = [name for name, _ in chosen]
        return [
            f"{self._environments[each.account_id]}/{name}" if names.count(name) > 1 else name for name, each in chosen
        ]

    def _propose_services(self, addressed: Sequence[Addressed]) -> list[ServiceProposal]:
        """Request the URLs, a few services at a time."""
        calls = [partial(self._propose_service, *each) for each in addressed]
        services = []
        for service, problems in run_in_batches(calls, AT_ONCE):
            services.append(service)
            self.unchecked += [f"{service.name}: {problem}" for problem in problems]
        return services

    def _propose_service(
        self, name: str, resource: Resource, address: Address | None
    ) -> tuple[ServiceProposal, list[str]]:
        """Return the service, and what was not proved."""
        if address is None:
            note = (
                "No url: it gets no requests from outside. Only Cloudflare's figures by version show whether it works."
            )
            named = ServiceProposal(name, resource, None, self.request.repository, notes=(note,))
            return named, ["no url and no probe: only Cloudflare's figures by version can prove a recovery"]
        is_site = resource.kind == "pages"
        probe = propose_probe(self.web, address, resource.live_versions, counts_cached=is_site)
        service = ServiceProposal(name, resource, address, self.request.repository)
        notes, problems = [], []
        if isinstance(probe, ProbeProposal):
            service = replace(service, probe=probe)
            if resource.kind == "worker" and not probe.version:
                notes.append("The answer has no version ID, so this probe cannot prove which version answers.")
            if resource.has_assets and not (probe.version or probe.json):
                problems.append(
                    f"{probe.path} may be a static asset, so the probe says nothing about the Worker's code"
                )
                notes.append("It has static assets: probe a path that its code answers, as an asset is always healthy.")
        else:
            problems.append(f"no probe, because {probe}")
            notes.append(f"No probe yet: {probe}.")
        if resource.kind == "pages":
            compare = propose_compare(self.web, self.clock, address, resource.deployments)
            service = replace(service, compare=compare.paths)
            problems += [compare.problem] if compare.problem else []
            notes += [text for text in (compare.advice, compare.problem and f"{compare.problem}.") if text]
        return replace(service, notes=tuple(notes)), problems


def _read_details(
    readers: Mapping[str, InventoryReader], inventories: Sequence[Inventory], chosen: Sequence[Resource]
) -> list[Resource]:
    """Return the chosen resources in their order, each read with the token of its account."""
    detailed = {
        resource: found
        for account, reader in readers.items()
        for own in [[each for each in chosen if each.account_id == account]]
        for resource, found in zip(own, reader.read_details(inventories, own), strict=True)
    }
    return [detailed.get(each, each) for each in chosen]


def _is_same_resource(one: Resource, other: Resource) -> bool:
    accounts = {one.account_id, other.account_id} - {""}
    return (one.kind, one.name) == (other.kind, other.name) and len(accounts) == 1


def _with_facts(resource: Resource, files: Iterable[Resource]) -> Resource:
    for each in files:
        if _is_same_resource(resource, each):
            resource = resource.merge(each)
    return resource


def _name_services(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Give a name to each service that has none. Raises ConfigError for a name that ops.yml does not accept."""
    proposed: dict[Resource, str] = {}
    for account in dict.fromkeys(each.account_id for _, each in chosen):
        proposed |= service_names(each for _, each in chosen if each.account_id == account)
    named = [(name or proposed[each], each) for name, each in chosen]
    taken = [(name, each.account_id) for name, each in named]
    for name, account in taken:
        if not re.fullmatch(NAME_PATTERN, name) or len(name) > MAX_NAME_LENGTH or taken.count((name, account)) > 1:
            raise ConfigError(
                f'"{quote_name(name)}" is not a name of a service, or is given twice',
                hint=f"Write lower-case letters, digits and -, at most {MAX_NAME_LENGTH}, each name once.",
            )
    return named


def _given_address(name: str, url: str, resource: Resource) -> Address:
    """Return the address of a typed URL. A path in it is the one to probe. Raises ConfigError."""
    match = re.fullmatch(r"(https://[^/]+)(/.*)?", url)
    if match is None or not re.fullmatch(ORIGIN, match[1].lower()):
        raise ConfigError(
            f"the URL of {name} is not an https URL",
            hint="Write https://HOST, such as https://shop.example.",
        )
    origin, path = match[1].lower(), match[2]
    known = next((each.path for each in resource.addresses if each.origin == origin), "/")
    return Address(origin, path or known)
