"""Choose the accounts of `ops init`, their environments, and a token for each account."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, count

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.types.inventory import NamedResource
from ops.config.checks import DEFAULT_TOKEN
from ops.config.staging_drill import PRODUCTION_WORDS
from ops.config.types import ACCOUNT, SECRET
from ops.core.client_guards import parse_token
from ops.core.clock import Clock
from ops.core.errors import ConfigError
from ops.core.names import NAME_PATTERN, did_you_mean, quote_name
from ops.setup.init.earlier_config import ExistingEnvironment
from ops.setup.init.questions import Questions, choose_numbered, split_answer_list
from ops.setup.init.resources import InventoryReader

PRODUCTION = "production"
STAGES: Mapping[str, frozenset[str]] = {
    "production": PRODUCTION_WORDS,
    "staging": frozenset({"staging", "stage"}),
    "development": frozenset({"development", "dev"}),
}
"""Environment → words in the name of its account."""


LONGEST_NAME = 20
"""Characters of an account's own name that can name an environment. Cloudflare's default has an address in it."""


def token_variables(environ: Mapping[str, str], named: Iterable[str]) -> tuple[str, ...]:
    """Return the variables with a token to read with, such as STAGING_CLOUDFLARE_API_TOKEN; the default one first.

    CLOUDFLARE_API_TOKEN_FILE is none: by convention it holds the path of a file.
    """
    also = {DEFAULT_TOKEN, *named}
    forms = (name for name in environ if name.endswith(f"_{DEFAULT_TOKEN}") or name.startswith(f"{DEFAULT_TOKEN}_"))
    found = {name for name in (*also, *(each for each in forms if not each.endswith("_FILE"))) if environ.get(name)}
    return tuple(sorted(found, key=lambda name: (name != DEFAULT_TOKEN, name)))


def open_clients(
    variables: Iterable[str], environ: Mapping[str, str], base_url: str, clock: Clock, ending: ExitStack
) -> dict[str, CloudflareClient]:
    """Return variable → client with its token, closed by `ending`. Raises ConfigError for a malformed token."""
    clients = {}
    for name in variables:
        clients[name] = CloudflareClient(base_url, parse_token(name, environ[name]), token_name=name, clock=clock)
        ending.callback(clients[name].close)
        clients[name].open()
    return clients


def environment_variables(environment: str) -> tuple[str, str]:
    """Return the two names of the variable with the token of one environment. The first one is written."""
    own = environment.upper().replace("-", "_")
    return f"{own}_{DEFAULT_TOKEN}", f"{DEFAULT_TOKEN}_{own}"


def split_account_name(given: str, default: str) -> tuple[str, str]:
    """Return name and value of `NAME=VALUE`; the default and the value without a name."""
    name, separator, value = given.partition("=")
    return (name.strip(), value.strip()) if separator else (default, given.strip())


@dataclass
class AccountChoice:
    """Chooses accounts. `clients` is empty without a token; Cloudflare is then not read."""

    questions: Questions
    clients: Mapping[str, CloudflareClient]
    """Variable → client with its token."""
    existing: Mapping[str, ExistingEnvironment] = field(default_factory=dict)
    """Environments in the ops.yml of an earlier run. Their names and accounts stay."""
    _listed: dict[str, str] = field(default_factory=dict)
    """Account → variable of the first token that lists it."""
    _names: dict[str, str] = field(default_factory=dict)
    """Account → its own name."""
    _readers: dict[str, InventoryReader] = field(init=False)

    def __post_init__(self) -> None:
        self._readers = {name: InventoryReader(client) for name, client in self.clients.items()}

    @property
    def unread(self) -> list[str]:
        """Lines for people: lists that were not read."""
        is_only = len(self._readers) == 1
        found = ((name, line) for name, reader in self._readers.items() for line in reader.unread)
        return sorted({line if is_only else f"{name}: {line}" for name, line in found})

    def choose(self, given: Sequence[str], known: Sequence[str]) -> dict[str, str]:
        """Return environment → account ID. `known` are the accounts of files and variables. Raises ConfigError."""
        rows = self._list_accounts()
        if given:
            return self._name_environments(given)
        rows += [NamedResource(each, "") for each in known if each not in {row.id for row in rows}]
        if not rows:
            question = "Cloudflare account ID (32 hexadecimal digits)"
            return self.questions.answer(question, lambda answer: self._name_environments(split_answer_list(answer)))
        if len(rows) == 1:
            return self._name_environments([rows[0].id])
        configured = {each.account_id for each in self.existing.values()}
        known = known or [row.id for row in rows if row.id in configured]
        if self.questions.is_interactive:
            return self._ask_accounts(rows, known)
        if known:
            return self._name_environments(known)
        named = " ".join(
            f"--account {name}={row.id}" for name, row in zip(propose_environments(rows), rows, strict=True)
        )
        hint = f"Name one or more of them, each with an environment of your choice: `{named}`."
        raise ConfigError(f"the token can read {len(rows)} accounts", hint=hint, problems=tuple(_account_rows(rows)))

    def _list_accounts(self) -> list[NamedResource]:
        rows: dict[str, NamedResource] = {}
        for variable, reader in self._readers.items():
            for row in reader.list_accounts():
                rows.setdefault(row.id, row)
                self._names.setdefault(row.id, row.name)
                self._listed.setdefault(row.id, variable)
        return list(rows.values())

    def _ask_accounts(self, rows: Sequence[NamedResource], known: Sequence[str]) -> dict[str, str]:
        """Ask for accounts and names. The default is what is known, else each account with a token of its own."""
        text = "\n".join(
            ["Cloudflare accounts:", *_account_rows(rows), "Number, or NAME=NUMBER for several environments"]
        )
        default = ",".join(str(number) for number, row in enumerate(rows, 1) if row.id in known) or "1"
        if not known and len(self.clients) > 1:
            default = ",".join(f"{name}={number}" for number, name in enumerate(propose_environments(rows), 1))

        def parse_account_choice(answer: str) -> dict[str, str]:
            picked = choose_numbered(answer, [row.id for row in rows])
            return self._name_environments(
                [f"{name}={rows[i].id}" if name else rows[i].id for i, name in picked.items()]
            )

        return self.questions.answer(text, parse_account_choice, default)

    def _name_environments(self, given: Sequence[str]) -> dict[str, str]:
        """Return environment → account ID, with names for those that have none. Raises ConfigError."""
        names = {each.account_id: name for name, each in reversed(list(self.existing.items()))}
        accounts: dict[str, str] = {}
        for each in given:
            name, account = split_account_name(each, "")
            if not re.fullmatch(ACCOUNT, account):
                raise ConfigError(
                    f'"{quote_name(account)}" is not an account ID',
                    hint="Write the 32 hexadecimal digits of the Workers & Pages page in the dashboard.",
                )
            if account in accounts.values():
                raise ConfigError(
                    f"account {account} is given twice",
                    hint="Give one environment to each account, and add others by hand.",
                )
            name = name or names.get(account) or self._propose_name(account, {*accounts, *self.existing}, len(given))
            self._require_name(name, account, accounts)
            accounts[name] = account
        if not accounts:
            hint = "Pass --account ID, or set CLOUDFLARE_API_TOKEN to a token that can read accounts."
            raise ConfigError("no Cloudflare account is known", hint=hint)
        return accounts

    def _require_name(self, name: str, account: str, accounts: Mapping[str, str]) -> None:
        if not re.fullmatch(NAME_PATTERN, name) or name in accounts:
            raise ConfigError(
                f'"{quote_name(name)}" is not a name of an environment, or is given twice',
                hint="Write lower-case letters, digits and -, such as production.",
            )
        if (found := self.existing.get(name)) and found.account_id != account:
            raise ConfigError(
                f"{name} is account {found.account_id} in ops.yml already",
                hint=f"Give the other account another name: `ops init --account NAME={account}`.",
            )

    def _propose_name(self, account: str, taken: Collection[str], accounts: int) -> str:
        """Return `production` for an only account; of several, which one serves users is a guess: use their names."""
        if accounts == 1 and not taken:
            return PRODUCTION
        return propose_environments([NamedResource(account, self._names.get(account, ""))], taken)[0]

    def token_names(self, given: Sequence[str], accounts: Mapping[str, str]) -> dict[str, str]:
        """Return environment → NAME of the token in ops.yml. Raises ConfigError.

        It is the given one, that of ops.yml, one with the name of the environment, or for the first one the default.
        """
        named = dict(split_account_name(each, next(iter(accounts))) for each in given)
        if unknown := named.keys() - accounts.keys():
            raise ConfigError(
                f'--token-name: no environment "{quote_name(min(unknown))}"{did_you_mean(min(unknown), accounts)}',
                hint="Write --token-name ENVIRONMENT=NAME.",
            )
        if wrong := next((name for name in named.values() if not re.fullmatch(SECRET, name)), None):
            raise ConfigError(
                f'--token-name: "{quote_name(wrong)}" is not a name of a variable',
                hint="Write the NAME of the secret, such as SHOP_CLOUDFLARE_TOKEN, never its value.",
            )
        names = {name: each.token for name, each in self.existing.items()}
        for number, name in enumerate(accounts):
            own = environment_variables(name)
            exported = next((each for each in own if each in self.clients), "")
            is_first = not number and not self.existing
            names.setdefault(name, exported or (DEFAULT_TOKEN if is_first else own[0]))
        return {name: named.get(name) or names[name] for name in accounts}

    def reader(self, token: str, account: str) -> InventoryReader | None:
        """Return the reader of an account: with the environment's own token, else with one that lists the account."""
        variables = (token if token != DEFAULT_TOKEN else "", self._listed.get(account, ""), *self._readers)
        return next((self._readers[each] for each in variables if each in self._readers), None)

    def variable(self, reader: InventoryReader) -> str:
        """Return the variable with the token of a reader."""
        return next(name for name, each in self._readers.items() if each is reader)


def _account_rows(rows: Iterable[NamedResource]) -> list[str]:
    return [f"{number}. {quote_name(row.name)} {row.id}" for number, row in enumerate(rows, 1)]


def propose_environments(accounts: Sequence[NamedResource], taken: Collection[str] = ()) -> list[str]:
    """Return a name for each account: its stage, else its own name if that is short. No other one is production."""
    names = [*taken]
    for number, account in enumerate(accounts, len(names) + 1):
        own = re.sub(r"[^a-z0-9]+", "-", account.name.casefold()).strip("-")
        stage = _account_stage(account.name)
        name = own if not stage or stage in names else stage
        is_usable = len(name) <= LONGEST_NAME and re.fullmatch(NAME_PATTERN, name)
        numbered = (f"account-{each}" for each in count(number))
        names.append(next(each for each in chain([name] if is_usable else [], numbered) if each not in names))
    return names[len(taken) :]


def _account_stage(name: str) -> str:
    words = set(re.findall(r"[a-z]+", name.casefold()))
    return next((stage for stage, known in STAGES.items() if words & known), "")
