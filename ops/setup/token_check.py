"""Check a new Cloudflare token before it is stored: validity, account and permissions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

from ops.app.session import find_addresses
from ops.cloudflare import d1, kv, pages, routes, tokens, workers
from ops.cloudflare.accounts import AccountsApi
from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.codes import ErrorKind
from ops.cloudflare.response import CloudflareApiError
from ops.core.errors import ProviderError
from ops.core.loopback import parse_token
from ops.setup.secret_commands import MissingSecret

UNPROVED = "Its permissions to write are unknown: the first drill or recovery proves them."


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
            return _check(client, needed)
        except ProviderError as error:
            is_refused = isinstance(error, CloudflareApiError) and error.kind is ErrorKind.AUTH
            return ["Cloudflare does not accept this token" if is_refused else error.message], ""


def _check(client: CloudflareClient, needed: MissingSecret) -> tuple[list[str], str]:
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
