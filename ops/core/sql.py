"""SQL of a database: tokens, quoted texts and comments, and statements that only read.

A statement provably changes nothing, so that a plan may send it. The rules are stricter than SQLite: a statement that
they do not understand could write.
"""

import re
import string
from dataclasses import dataclass

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
