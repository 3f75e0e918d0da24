"""Read for the guard of a deployment: wrangler file, folder of migrations, token, clock."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.session import find_addresses
from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.d1 import D1Api
from ops.cloudflare.types.site_config import CONFIGURATION_FILES
from ops.core.client_guards import parse_token
from ops.core.errors import ConfigError, Reason
from ops.core.names import quote_name
from ops.core.sql import is_read_only
from ops.database.guard import guard_migrations
from ops.database.guard_result import GuardedDatabase, GuardTools, MigrationGuardResult, OwnCheck
from ops.database.migrations import DatabaseBinding, MigrationFile, find_binding, find_database_id
from ops.engine.signals import PROCESS_SIGNALS
from ops.github.actions import run_id

if TYPE_CHECKING:
    from ops.core.migrations_folder import MigrationsFolder

TOKEN, ACCOUNT, ENVIRONMENT = "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_ENV"
"""Variables that wrangler reads too."""
MAX_FILES, MAX_BYTES = 5_000, 20_000_000
"""Limits of the folder of migrations: files, and bytes of all of them."""


@dataclass(frozen=True)
class GuardOptions:
    """Options of the command; an empty text is the default."""

    wrangler: Path | None = None
    database: str = ""
    environment: str = ""
    account_id: str = ""
    known_as: str = ""
    checks: str = ""


def describe_database(options: GuardOptions, environ: Mapping[str, str]) -> tuple[GuardedDatabase, str]:
    """Return the database that the options name, with its migrations, and its account.

    Raises:
        ConfigError, Refused: the wrangler file, a migration, a check or the account cannot be used.
    """
    path = options.wrangler or _find_wrangler_file()
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint="Name the file with --wrangler.") from None
    whole, here = path.resolve(), Path.cwd()
    root, name = (here, whole.relative_to(here).as_posix()) if whole.is_relative_to(here) else (path.parent, path.name)
    environment = options.environment or environ.get(ENVIRONMENT, "")
    binding = find_binding(name, raw, options.database, environment)
    config = ("--config", str(path)) if options.wrangler else ()
    database = GuardedDatabase(
        binding.name,
        binding.id,
        binding.migrations.table,
        tuple(_read_migration_files(root, binding.migrations)),
        tuple(_parse_checks(options.checks)),
        wrangler_options=(*(("--env", environment) if environment else ()), *config),
        known_as=options.known_as,
    )
    return database, _choose_account(options, binding, environ)


def run_guard(
    result: MigrationGuardResult,
    account: str,
    environ: Mapping[str, str],
    *,
    dry_run: bool,
    say: Callable[[str], None],
    keep: Callable[[], None],
) -> None:
    """Run the guard, and keep `result` up to date; `keep` is called before the first write and at the end.

    Raises what `guard` raises, and ConfigError without a token.
    """
    value = environ.get(TOKEN, "")
    if not value:
        raise ConfigError(
            f"{TOKEN} is not set",
            reason=Reason.TOKEN_MISSING,
            hint='Give the step a Cloudflare API token with "D1 Edit" on the account, such as that of wrangler.',
        )
    base_url, _, clock = find_addresses(environ)
    with ExitStack() as ending, PROCESS_SIGNALS.in_run() as signals:
        client = CloudflareClient(
            base_url, parse_token(TOKEN, value), token_name=TOKEN, clock=clock, settings="the wrangler file"
        )
        ending.callback(client.close)
        client.open()
        d1 = D1Api(client, account)
        if not result.database.id:
            databases = d1.list_databases()
            result.database = replace(result.database, id=find_database_id(result.database.name, databases))
        tools = GuardTools(d1, clock, run_id(environ), say, client.writing, signals.delay, keep)
        try:
            guard_migrations(tools, result, dry_run=dry_run)
        finally:
            keep()


def _find_wrangler_file() -> Path:
    file = next((Path(name) for name in CONFIGURATION_FILES if Path(name).is_file()), None)
    if file is None:
        raise ConfigError(
            f"no {', '.join(CONFIGURATION_FILES)} in this folder", hint="Name the wrangler file with --wrangler."
        )
    return file


def _choose_account(options: GuardOptions, binding: DatabaseBinding, environ: Mapping[str, str]) -> str:
    """Return the account. Raises ConfigError if it is missing, or two places differ."""
    given = {"--account-id": options.account_id, "the wrangler file": binding.account_id}
    given[ACCOUNT] = environ.get(ACCOUNT, "")
    accounts = {value: name for name, value in reversed(given.items()) if value}
    if len(accounts) > 1:
        raise ConfigError(f"{' and '.join(accounts.values())} name different accounts", hint="Leave one of them out.")
    (account,) = accounts or ("",)
    if not re.fullmatch("[0-9a-f]{32}", account):
        raise ConfigError(
            "the id of the Cloudflare account is missing, or it is not 32 hexadecimal digits",
            hint=f"Set {ACCOUNT}, or account_id in the wrangler file.",
        )
    return account


def _parse_checks(text: str) -> Iterator[OwnCheck]:
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), start=1):
        if not is_read_only(line):
            raise ConfigError(
                f"check {number} does not provably only read: {quote_name(line)}",
                hint="Write one SELECT per line. Its first value must be 0.",
            )
        yield OwnCheck(f"check {number}", line)


def _read_migration_files(root: Path, place: "MigrationsFolder") -> Iterator[MigrationFile]:
    """Yield the files that wrangler finds: no links, nothing hidden.

    Raises:
        ConfigError: the folder is missing, too large, or has a file whose name or content cannot be used.
    """
    folder = root / place.folder
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", hint="Set migrations_dir in the wrangler file.")
    try:
        yield from _read_guarded_files(folder, place)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read ({error.strerror})", hint="Check its permissions.") from None


def _read_guarded_files(folder: Path, place: "MigrationsFolder") -> Iterator[MigrationFile]:
    size = 0
    for path, name in _walk_folder(folder, with_hidden="/." in f"/{place.pattern}"):
        if not place.is_migration(name):
            continue
        if not name.isprintable() or "\\" in name:
            raise ConfigError(f"a migration has a name that cannot be shown: {quote_name(name)}", hint="Rename it.")
        size += path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"the migrations have over {MAX_BYTES} bytes", hint="Load data by other means.")
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{quote_name(name)} cannot be read as UTF-8 ({error})", hint="Correct it.") from None
        yield MigrationFile(name, text)


def _walk_folder(folder: Path, *, with_hidden: bool) -> Iterator[tuple[Path, str]]:
    """Yield each file with its path relative to the folder. Raises ConfigError for too many."""
    left, count = [(folder, "")], 0
    while left:
        current, prefix = left.pop()
        with os.scandir(current) as entries:
            for entry in entries:
                count += 1
                if count > MAX_FILES:
                    raise ConfigError(f"{folder} has over {MAX_FILES} entries", hint="Move other files away.")
                if entry.is_dir(follow_symlinks=False) and (with_hidden or entry.name[0] != "."):
                    left.append((Path(entry.path), f"{prefix}{entry.name}/"))
                elif entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), f"{prefix}{entry.name}"
