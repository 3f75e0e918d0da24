"""Decide whether SQL provably changes nothing, so that a plan may send it.

The rules are stricter than SQLite: a statement that they do not understand could write.
"""

import re

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


def is_read_only(sql: str) -> bool:
    """Return whether the text is one SELECT, or one PRAGMA of READING_PRAGMAS, and cannot change the database."""
    tokens = _tokens(sql)
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


def _tokens(sql: str) -> list[str] | None:
    """Return words in capitals, signs, and `?` for quoted names and literals. None for text that is not SQL."""
    found = list[str]()
    for token in _TOKEN.finditer(sql):
        if token.lastgroup == "unclosed" and token[0]:
            return None
        if token.lastgroup in {"word", "sign"}:
            found.append(token[0].upper())
        elif token.lastgroup in {"literal", "name", "number"}:
            found.append("?")
    return found
