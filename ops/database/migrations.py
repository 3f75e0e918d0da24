"""Find the migrations of a database and their down files as wrangler does.

Rules: resolveMigrationsConfig and getD1MigrationFiles in github.com/cloudflare/workers-sdk, packages/wrangler and
packages/workers-utils, as in wrangler 4.164. An acceptance test compares them with the real wrangler.
"""

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ops.cloudflare.types.site_config import read_settings
from ops.core.errors import Reason, Refused
from ops.core.suggestions import quote_name

DOWN = "down"
"""Folder of the down files, within the folder of migrations; a down file has the name of its migration."""
DEFAULT_FOLDER, DEFAULT_TABLE = "migrations", "d1_migrations"
MAX_NAME_LENGTH = 200
_UNKNOWN_SIGNS = re.compile(r"[\[\]()|!#]|\.\.|\{[^,{}]*\}")
"""Signs of minimatch that these rules do not know: classes, extended patterns, negation, comments, ranges."""
_INNER_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class MigrationsFolder:
    """Place of a database's migrations, as its wrangler file configures it."""

    folder: str
    """Path from the root of the repository."""
    table: str
    pattern: str
    """Relative to `folder`."""

    def is_migration(self, name: str) -> bool:
        """Return whether wrangler applies a file of the folder, by its relative path."""
        return any(_translate(each).fullmatch(name) for each in _expand_braces(self.pattern))

    def find_down_file(self, migration: str) -> str:
        """Return the path of a migration's down file, relative to `folder`.

        Raises:
            Refused: the name is no path within the folder, or wrangler would apply the down file as a migration.
        """
        if not _is_plain_path(migration):
            raise Refused(
                f"migration {quote_name(migration)} has a name that is no path of a file",
                reason=Reason.UNKNOWN_NAME,
                hint="Take it back with restore-database, or by hand.",
            )
        name = f"{DOWN}/{migration}"
        if self.is_migration(name):
            raise Refused(
                f"migrations_pattern {quote_name(self.pattern)} matches the down file {quote_name(name)}, so wrangler "
                "applies it as a migration",
                reason=Reason.CONFIG_INVALID,
                hint=f"Narrow migrations_pattern in the wrangler file, such as {self.folder}/*.sql.",
            )
        return name


def parse_migrations_folder(file: str, raw: bytes, database_id: str) -> MigrationsFolder:
    """Return the folder of a database from a wrangler file, whose path starts at the root of the repository.

    Raises:
        Refused: the file cannot be read, has no such database, several places for it, or a pattern with unknown signs.
    """
    try:
        settings = read_settings(file, raw)
    except Refused as error:
        raise _unusable(error.message) from None
    found = list(dict.fromkeys(_parse_binding(file, each) for each in _bindings(settings, database_id)))
    if not found:
        raise _unusable(f"{file} has no D1 database with the id {database_id}")
    if len(found) > 1:
        raise _unusable(f"{file} has {len(found)} different migrations folders for the database {database_id}")
    if _UNKNOWN_SIGNS.search(found[0].pattern):
        pattern = quote_name(found[0].pattern)
        raise _unusable(f"migrations_pattern {pattern} in {file} has signs besides *, **, ? and {{a,b}}")
    return found[0]


def migration_order(name: str) -> tuple[tuple[bool, int, bytes], ...]:
    """Return the key by which wrangler sorts migrations: segment by segment, by leading number and then as text."""
    return tuple(_segment_key(each) for each in name.split("/"))


def hash_migration(text: str) -> str:
    """Return the SHA-256 of a migration's content, equal for both forms of line ends."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode(errors="surrogateescape")).hexdigest()


def _bindings(settings: Mapping[str, Any], database_id: str) -> Iterator[Mapping[str, Any]]:
    """Yield the bindings of a database, of all environments of the file."""
    environments = settings.get("env")
    tables = [settings, *(environments.values() if isinstance(environments, dict) else ())]
    for table in tables:
        rows = table.get("d1_databases") if isinstance(table, dict) else None
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and row.get("database_id") == database_id:
                yield row


def _parse_binding(file: str, binding: Mapping[str, Any]) -> MigrationsFolder:
    given = {name: binding.get(name) for name in ("migrations_dir", "migrations_table", "migrations_pattern")}
    if wrong := [name for name, value in given.items() if not isinstance(value, str | None)]:
        raise _unusable(f"{wrong[0]} in {file} is not a text")
    if given["migrations_pattern"] is not None and given["migrations_dir"] is None:
        raise _unusable(f"{file} has migrations_pattern without migrations_dir")
    folder = _normalize(given["migrations_dir"] or DEFAULT_FOLDER)
    pattern = _normalize(given["migrations_pattern"] or f"{folder}/*.sql")
    prefix = "" if folder == "." else f"{folder}/"
    if not pattern.startswith(prefix):
        raise _unusable(f"migrations_pattern in {file} does not start with {quote_name(prefix)}")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(file), folder))
    if place.startswith(("/", "../")) or place == "..":
        raise _unusable(f"migrations_dir in {file} is outside of the repository")
    return MigrationsFolder(place, given["migrations_table"] or DEFAULT_TABLE, pattern.removeprefix(prefix))


def _normalize(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/"))


def _is_plain_path(name: str) -> bool:
    is_short = len(name) <= MAX_NAME_LENGTH and name.isprintable() and "\\" not in name
    return is_short and all(each.strip(". ") for each in name.split("/"))


def _expand_braces(pattern: str) -> Iterator[str]:
    """Yield the patterns that `{a,b}` stands for."""
    braces = _INNER_BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    for each in braces[1].split(","):
        yield from _expand_braces(pattern[: braces.start()] + each + pattern[braces.end() :])


def _translate(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern. Only a literal dot matches one at the start of a name."""
    *folders, last = pattern.split("/")
    parts = [r"(?:(?!\.)[^/]+/)*" if each == "**" else f"{_translate_segment(each)}/" for each in folders]
    parts.append(r"(?:(?!\.)[^/]+/)*(?!\.)[^/]+" if last == "**" else _translate_segment(last))
    return re.compile("".join(parts))


def _translate_segment(segment: str) -> str:
    signs = {"*": "[^/]*", "?": "[^/]"}
    text = "".join(signs.get(sign) or re.escape(sign) for sign in re.sub(r"\*+", "*", segment))
    return rf"(?!\.)(?=[^/]){text}" if segment[:1] in signs else text


def _segment_key(segment: str) -> tuple[bool, int, bytes]:
    number = re.match(r"\s*[+-]?[0-9]+", segment.partition("_")[0], re.ASCII)
    return number is None, int(number[0]) if number else 0, segment.encode("utf-16-be", errors="surrogatepass")


def _unusable(text: str) -> Refused:
    hint = "Mend the wrangler file on the default branch: the binding needs database_id and migrations_dir."
    return Refused(text, reason=Reason.CONFIG_INVALID, hint=hint)
