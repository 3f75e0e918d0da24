"""Secrets that GitHub lacks, with commands and permissions, and the check of a new token."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from ops.app.session import find_addresses
from ops.cloudflare import d1, kv, pages, routes, tokens, workers
from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.response import CloudflareApiError, ErrorKind
from ops.cloudflare.tokens import AccountsApi, dashboard_name
from ops.config.status_page import page_keys
from ops.core.client_guards import parse_token
from ops.core.errors import ConfigError, ProviderError
from ops.core.permissions import template_key
from ops.core.redaction import Secret
from ops.setup import workflow_jobs
from ops.setup.github_environments import APP_REPO_TOKEN, GitHubEnvironment

if TYPE_CHECKING:
    from ops.config import Config

TOKEN_PAGE = "https://dash.cloudflare.com/profile/api-tokens"  # noqa: S105
ORDER = ("recovery", "report", "security", "database", "limits")
_TYPES = {"Write": "edit", "Read": "read"}
UNPROVED = "Its permissions to write are unknown: the first drill or recovery proves them."


@dataclass(frozen=True)
class MissingSecret:
    """A secret to set on GitHub."""

    name: str
    github_environment: str
    """"" for a secret of the repository."""
    command: str
    about: str
    url: str = ""
    """Cloudflare's page for a new token, with the permissions filled in where it knows them."""
    is_optional: bool = False
    """Whether only a private repository of the application needs it."""
    account_id: str = ""
    """Account of a Cloudflare token; "" for another secret."""
    purpose: str = ""
    """GitHub environment of the jobs that read it, also where the repository holds the secret."""
    rights: tuple[str, ...] = ()
    """Permission groups of a Cloudflare token."""


def list_missing(
    config: "Config",
    environments: Sequence[GitHubEnvironment],
    present: Mapping[str, frozenset[str]],
    repository: str,
) -> Iterator[MissingSecret]:
    """Yield the missing secrets, those for a recovery first.

    `present`: GitHub environment, "" for the repository → names of its secrets. Values that only a rotation needs are
    left out, and so is the key for copies on GitHub if ops.yml has none.
    """
    has_copies = workflow_jobs.has_github_copies(config)
    for environment in sorted(environments, key=_environment_urgency):
        held = environment.name if config.github.environments else ""
        known = present.get(held, frozenset())
        copy_keys = {config.github.secret(environment.name, name) for name in workflow_jobs.COPY_KEYS}
        tokens = _cloudflare_tokens(config, environment.name)
        for name in environment.secrets:
            if name in known or name.startswith("vars.") or _is_of_rotation(config, environment.name, name):
                continue
            if name in copy_keys and (not has_copies or known & copy_keys or name.endswith(workflow_jobs.APP_KEY)):
                continue
            place = f" --env {held}" if held else ""
            command = f"gh secret set {name}{place} --repo {repository}"
            if name in tokens:
                rights = ", ".join(map(dashboard_name, environment.rights))
                about = f"Cloudflare token for {', '.join(environment.used_by)}: {rights}"
                if by_hand := [dashboard_name(each) for each in environment.rights if _template_key(each) is None]:
                    about += f" (not in the link, add it there: {', '.join(by_hand)})"
                url = token_url(environment.rights, tokens[name], f"Backout {environment.name}")
                yield MissingSecret(
                    name,
                    held,
                    command,
                    about,
                    url,
                    account_id=tokens[name],
                    purpose=environment.name,
                    rights=tuple(environment.rights),
                )
            else:
                is_optional = name == config.github.secret(environment.name, APP_REPO_TOKEN)
                about = _describe_secret(config, environment.name, name)
                yield MissingSecret(name, held, command, about, is_optional=is_optional, purpose=environment.name)


def _environment_urgency(environment: GitHubEnvironment) -> int:
    return ORDER.index(environment.name) if environment.name in ORDER else len(ORDER)


def _cloudflare_tokens(config: "Config", github_environment: str) -> dict[str, str]:
    """Return the name of the secret → id of the account that its Cloudflare token is for."""
    return {
        config.github.secret(github_environment, each.token): each.account_id for each in config.environments.values()
    }


def _is_of_rotation(config: "Config", github_environment: str, name: str) -> bool:
    prefixes = (config.github.secret(github_environment, prefix) for prefix in workflow_jobs.ROTATION_PREFIXES)
    return name.startswith(tuple(prefixes))


def _template_key(group: str) -> dict[str, str] | None:
    """Return the permission as in a template URL; None if it has no known key there."""
    area, _, right = group.rpartition(" ")
    key = template_key(area)
    return {"key": key, "type": _TYPES[right]} if key and right in _TYPES else None


def _describe_secret(config: "Config", github_environment: str, name: str) -> str:
    chats = {config.github.secret(github_environment, each): what for each, what in config.notify.secrets.items()}
    if name in chats:
        return chats[name]
    if name in {config.github.secret(github_environment, key) for key in page_keys(config.status_page)}:
        return "key of the status page's provider"
    if name == config.github.secret(github_environment, workflow_jobs.SECRETS_TOKEN):
        return "token for copies on GitHub, or a GitHub App: docs/reference/permissions.md"
    if name == config.github.secret(github_environment, APP_REPO_TOKEN):
        return "token that reads the application's repository, if it is private"
    return "value for a probe or an endpoint of the application"


def token_url(groups: Sequence[str], account_id: str, name: str) -> str:
    """Return the URL of a form for a new token, without the permissions that have no known key.

    `account_id`: `*` for all accounts.
    """
    keys = [key for group in groups if (key := _template_key(group))]
    if not keys:
        return TOKEN_PAGE
    packed = quote(json.dumps(keys, separators=(",", ":")), safe="")
    return f"{TOKEN_PAGE}?permissionGroupKeys={packed}&accountId={account_id}&zoneId=all&name={quote(name)}"


def check_token(value: str, needed: MissingSecret, environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the problems of the token, and what is not provable now. Sends reads only.

    Raises:
        ConfigError: the value has a form that no token has.
    """
    base_url, _, clock = find_addresses(environ)
    secret = parse_token(needed.name, value)
    with closing(CloudflareClient(base_url, secret, token_name=needed.name, clock=clock)) as client:
        client.open()
        try:
            return _check_new_token(client, needed)
        except ProviderError as error:
            is_refused = isinstance(error, CloudflareApiError) and error.kind is ErrorKind.AUTH
            return ["Cloudflare does not accept this token" if is_refused else error.message], ""


def check_given_token(value: str, needed: MissingSecret, environ: Mapping[str, str], variable: str) -> Secret:
    """Return the token of a variable after its checks. Raises ConfigError for a token with a problem."""
    parse_token(variable, value)  # an error about its form names the variable
    problems, _ = check_token(value, needed, environ)
    if problems:
        text = f"the token in {variable} is not stored as {needed.name}: {'; '.join(problems)}"
        hint = f"Correct this, or create a token with {needed.about.partition(': ')[2]}, and `export {variable}=…`."
        raise ConfigError(text, hint=hint)
    return Secret(value)


def _check_new_token(client: CloudflareClient, needed: MissingSecret) -> tuple[list[str], str]:
    verified = tokens.verify_token(client, needed.account_id)
    if verified.status != "active":
        return [f"this token is {verified.status}"], ""
    listed = AccountsApi(client).list_accounts()
    if listed and needed.account_id not in {each.id for each in listed}:
        names = ", ".join(f"{each.id} ({each.name})" for each in listed)
        return [f"this token belongs to {names}, and not to {needed.account_id}"], ""
    try:
        groups = tokens.read_permission_groups(client, needed.account_id, verified)
    except CloudflareApiError:  # few tokens may read their own policies
        lacking, unproved = list(_failed_reads(client, needed)), UNPROVED
    else:
        lacking, unproved = [group for group in needed.rights if group not in groups], ""
    return [f"this token lacks {', '.join(lacking)}"] if lacking else [], unproved


def _failed_reads(client: CloudflareClient, needed: MissingSecret) -> Iterator[str]:
    """Yield the permissions of which Cloudflare refuses a read."""
    account = needed.account_id
    reads: dict[str, Callable[[], object]] = {
        "Workers Scripts": workers.WorkersApi(client, account).list_workers,
        "Pages": pages.PagesApi(client, account).list_projects,
        "Workers KV Storage": kv.KvApi(client, account).list_namespaces,
        "Zone": routes.RoutesApi(client, account).list_zones,
        "D1": d1.D1Api(client, account).list_databases,
    }
    for group in needed.rights:
        if read := reads.get(group.rpartition(" ")[0]):
            try:
                read()
            except CloudflareApiError as error:
                if error.kind is not ErrorKind.AUTH:
                    raise
                yield group
