"""SQL of a database: statements that only read, and migrations as wrangler finds them.

A statement provably changes nothing, so that a plan may send it. The rules are stricter than SQLite: a statement that
they do not understand could write.

Migrations: getD1MigrationFiles in github.com/cloudflare/workers-sdk, packages/workers-utils, as in wrangler 4.164. An
acceptance test compares them with the real wrangler.
"""

import hashlib
import posixpath
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ops.core.errors import Reason, Refused
from ops.core.names import quote_name

READING_PRAGMAS = frozenset(
    {
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
"""PRAGMAs that D1 permits and that only read: developers.cloudflare.com/d1/sql-api/sql-statements"""
_WRITING = {"INSERT", "UPDATE", "DELETE", "REPLACE"}
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\n\f\r]+ | --[^\n]* | /\*.*?(?:\*/|\Z))
      | (?P<literal>'(?:[^']|'')*')
      | (?P<name>"(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\])
      | (?P<word>(?:[A-Za-z_]|[^\x00-\x7f])(?:[A-Za-z0-9_$]|[^\x00-\x7f])*)
      | (?P<number>[0-9][0-9A-Za-z_.]*)
      | (?P<sign>[^'"`\[\x00])
      | (?P<unclosed>.*)""",
    re.VERBOSE | re.DOTALL,
)
"""Tokens as SQLite reads them (sqlite.org/lang_comment.html, sqlite.org/lang_keywords.html).

A range up to U+10FFFF in a set takes Python 5 ms to compile, in each command; the complement of ASCII takes none.
"""
ANY_COMMENT = r"--[^\n]*|/\*.*?(?:\*/|\Z)"
QUOTED = r"""'[^']*'?|"[^"]*"?|`[^`]*`?|\[[^\]]*\]?"""
"""Quoted texts and names of SQLite; a doubled quote begins another one."""
QUOTED_OR_COMMENT = re.compile(f"{QUOTED}|{ANY_COMMENT}", re.DOTALL)
_CAPITALS = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
DOWN = "down"
"""Folder of the down files, beside the folder of migrations; a down file has the name of its migration."""
DEFAULT_TABLE, DEFAULT_PATTERN = "d1_migrations", "*.sql"
MAX_NAME_LENGTH = 200
MAX_PATTERNS = 100
"""Patterns that the braces of one may stand for."""
_UNKNOWN_SIGNS = re.compile(r"[\[\]()|!#]|\.\.|\{[^,{}]*\}")
"""Signs of minimatch that these rules do not know: classes, extended patterns, negation, comments, ranges."""
_INNER_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Token:
    """A token of SQL without blanks and comments."""

    kind: str
    """`literal`, `name` (quoted), `word`, `number` or `sign`."""
    text: str
    """As it is written; a word in capitals."""
    start: int
    end: int


def tokenize(sql: str) -> tuple[Token, ...] | None:
    """Return the tokens of a text. None for text that is not SQL."""
    tokens = list[Token]()
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or ""
        if kind == "unclosed" and match[0]:
            return None
        if kind not in {"blank", "unclosed"}:
            text = match[0].upper() if kind == "word" else match[0]
            tokens.append(Token(kind, text, match.start(), match.end()))
    return tuple(tokens)


def fold_name(name: str) -> str:
    """Return a name as SQLite compares it: without the capitals A to Z."""
    return name.translate(_CAPITALS)


def without_sql_comments(sql: str) -> str:
    """Return a text with a space for each comment."""
    return QUOTED_OR_COMMENT.sub(lambda found: " " if found[0][0] in "-/" else found[0], sql)


def mask_quoted_sql(sql: str) -> str:
    """Return a text with a space for each comment, and `?` for each quoted text or name."""
    return QUOTED_OR_COMMENT.sub(lambda found: " " if found[0][0] in "-/" else "?", sql)


def is_read_only(sql: str) -> bool:
    """Return whether the text is one SELECT, or one PRAGMA of READING_PRAGMAS, and cannot change the database."""
    tokens = _sql_tokens(sql)
    if tokens is None:
        return False
    while tokens and tokens[-1] == ";":
        tokens.pop()
    if ";" in tokens:
        return False
    if tokens[:1] == ["EXPLAIN"]:
        tokens = tokens[3:] if tokens[1:3] == ["QUERY", "PLAN"] else tokens[1:]
        return tokens[:1] in (["SELECT"], ["WITH"]) and not _may_write(tokens)
    match tokens[:1]:
        case ["SELECT" | "VALUES" | "WITH"]:
            return not _may_write(tokens)
        case ["PRAGMA"]:
            return _is_reading_pragma(tokens[1:])
    return False


def cut_semicolon(sql: str) -> str:
    """Return a read-only text without its final semicolon, and without the comments behind it."""
    signs = (token for token in _TOKEN.finditer(sql) if token.lastgroup == "sign" and token[0] == ";")
    return sql[: end.start()] if (end := next(signs, None)) else sql


def _may_write(tokens: list[str]) -> bool:
    """Return whether a keyword of a write follows; `replace(…)` is a function."""
    following = [*tokens[1:], ""]
    calls_replace = ("REPLACE", "(")
    return any(pair[0] in _WRITING and pair != calls_replace for pair in zip(tokens, following, strict=True))


def _is_reading_pragma(tokens: list[str]) -> bool:
    """Return whether PRAGMA is followed by the name of a reading one, with at most an argument in parentheses."""
    match tokens:
        case [name]:
            return name.lower() in READING_PRAGMAS
        case [name, "(", _, ")"]:
            return name.lower() in READING_PRAGMAS
    return False


def _sql_tokens(sql: str) -> list[str] | None:
    """Return words in capitals, signs, and `?` for quoted names and literals. None for text that is not SQL."""
    tokens = tokenize(sql)
    if tokens is None:
        return None
    return [token.text if token.kind in {"word", "sign"} else "?" for token in tokens]


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
