"""Folder of migrations: which files wrangler applies, in which order, and the down files.

Rules: getD1MigrationFiles in github.com/cloudflare/workers-sdk, packages/workers-utils, as in wrangler 4.164. An
acceptance test compares them with the real wrangler.
"""

import hashlib
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ops.core.errors import Reason, Refused
from ops.core.names import quote_name

DOWN = "down"
"""Folder of the down files, beside the folder of migrations; a down file has the name of its migration."""
DEFAULT_TABLE, DEFAULT_PATTERN = "d1_migrations", "*.sql"
MAX_NAME_LENGTH = 200
MAX_PATTERNS = 100
"""Patterns that the braces of one may stand for."""
_UNKNOWN_SIGNS = re.compile(r"[\[\]()|!#]|\.\.|\{[^,{}]*\}")
"""Signs of minimatch that these rules do not know: classes, extended patterns, negation, comments, ranges."""
_INNER_BRACES = re.compile(r"\{([^{}]*)\}")


def find_pattern_problem(pattern: str) -> str:
    """Return why these rules do not know a pattern; empty if they do."""
    known = "*, **, ? and {a,b}"
    if _UNKNOWN_SIGNS.search(pattern):
        return f"has signs besides {known}"
    is_large = next(islice(_expand_braces(pattern), MAX_PATTERNS, None), None) is not None
    return f"stands for over {MAX_PATTERNS} patterns" if is_large else ""


@dataclass(frozen=True)
class MigrationsFolder:
    """Place of a database's migrations."""

    folder: str
    """Path from the root of the repository."""
    table: str = DEFAULT_TABLE
    pattern: str = DEFAULT_PATTERN
    """Relative to `folder`."""

    @property
    def down_folder(self) -> str:
        """Return the path of the down files from the root of the repository."""
        return posixpath.join(posixpath.dirname(self.folder), DOWN)

    def is_migration(self, name: str) -> bool:
        """Return whether wrangler applies a file of the folder, by its relative path."""
        return any(_glob_expression(each).fullmatch(name) for each in _expand_braces(self.pattern))

    def find_path(self, migration: str) -> str:
        """Return the path of a migration from the root of the repository. Raises Refused for a name that is no path."""
        return posixpath.normpath(posixpath.join(self.folder, _require_path(migration)))

    def find_down_path(self, migration: str) -> str:
        """Return the path of a migration's down file from the root of the repository.

        Raises:
            Refused: the name is no path, or wrangler would apply the down file as a migration.
        """
        path = f"{self.down_folder}/{_require_path(migration)}"
        name = posixpath.relpath(path, self.folder)
        if self.is_migration(name):
            raise Refused(
                f"migrations_pattern {quote_name(self.pattern)} matches the down file {quote_name(name)}, which "
                "wrangler would apply",
                reason=Reason.CONFIG_INVALID,
                hint="Move the migrations into a folder of their own, or narrow migrations_pattern to *.sql.",
            )
        return path


def migration_order(name: str) -> tuple[tuple[bool, int, bytes], ...]:
    """Return the key by which wrangler sorts migrations: segment by segment, by leading number and then as text."""
    return tuple(_segment_key(each) for each in name.split("/"))


def hash_migration(text: str) -> str:
    """Return the SHA-256 of a migration's content, equal for both forms of line ends."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode(errors="surrogateescape")).hexdigest()


def _require_path(migration: str) -> str:
    is_short = len(migration) <= MAX_NAME_LENGTH and migration.isprintable() and "\\" not in migration
    if is_short and all(each.strip(". ") for each in migration.split("/")):
        return migration
    raise Refused(
        f"migration {quote_name(migration)} has a name that is no path of a file",
        reason=Reason.UNKNOWN_NAME,
        hint="Take it back with restore-database, or by hand.",
    )


def _expand_braces(pattern: str) -> Iterator[str]:
    """Yield the patterns that `{a,b}` stands for."""
    braces = _INNER_BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    for each in braces[1].split(","):
        yield from _expand_braces(pattern[: braces.start()] + each + pattern[braces.end() :])


def _glob_expression(pattern: str) -> re.Pattern[str]:
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
