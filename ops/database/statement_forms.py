"""Recognize statements whose lost rows can be counted: fill, rebuild, DELETE, UPDATE.

Everything else is not understood, and its loss has an unknown size. Drizzle, Prisma and Knex rebuild a table, because
SQLite's ALTER TABLE changes no types and no constraints (sqlite.org/lang_altertable.html#otheralter): a new table gets
the rows, and takes the name.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ops.cloudflare.types.d1 import quote_identifier
from ops.core.sql import Token, fold_name, mask_quoted_sql, tokenize
from ops.database.losses import Affected, Effect
from ops.database.schema_tables import Column, Table

_ENDS_WHERE = frozenset(
    {
        *("GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "WINDOW", "RETURNING", "ON"),
        *("JOIN", "FROM", "SET", "WHERE", "INDEXED"),
    }
)
"""Words outside of parentheses that make a statement more than its WHERE."""
_UNSTABLE = frozenset({"RANDOM", "RANDOMBLOB", "CHANGES", "TOTAL_CHANGES", "LAST_INSERT_ROWID"})
"""Functions that answer differently the next time."""
_VALUES = frozenset({"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "NULL"})
"""Words that never name a column."""
_SCALAR = frozenset(
    {
        *("ABS", "CAST", "COALESCE", "DATE", "DATETIME", "FLOOR", "CEIL", "HEX", "IFNULL", "IIF", "INSTR", "JSON"),
        *("JSON_ARRAY", "JSON_EXTRACT", "JSON_OBJECT", "JULIANDAY", "LENGTH", "LOWER", "LTRIM", "NULLIF", "PRINTF"),
        *("FORMAT", "QUOTE", "REPLACE", "ROUND", "RTRIM", "STRFTIME", "SUBSTR", "SUBSTRING", "TIME", "TRIM"),
        *("TYPEOF", "UNHEX", "UNICODE", "UNIXEPOCH", "UPPER"),
        *("AND", "AS", "BETWEEN", "EXISTS", "CASE", "ELSE", "IN", "IS", "LIKE", "NOT", "OR", "THEN", "WHEN"),
    }
)
"""Words before a parenthesis that keep one result for each row; an aggregate makes one row of many."""


class _UnknownFormError(Exception):
    """The statement has another form."""


@dataclass(frozen=True)
class Fill:
    """`INSERT INTO table (columns) SELECT items FROM source WHERE where`."""

    table: str
    columns: tuple[str, ...] | None
    """None for all of the table."""
    items: tuple["Item", ...]
    source: str
    alias: str
    where: str
    """Empty for all rows."""


@dataclass(frozen=True)
class Item:
    """A result of a SELECT."""

    sql: str
    column: str = ""
    """Name, if the result may be a column as it is."""
    is_star: bool = False


@dataclass(frozen=True)
class RowStatement:
    """`DELETE FROM table WHERE where`, or `UPDATE table SET columns … WHERE where`."""

    table: str
    where: str
    """Empty for all rows."""
    alias: str = ""
    columns: tuple[str, ...] = ()
    """Columns that UPDATE sets; none for DELETE."""
    quoted: tuple[str, ...] = ()
    """Names in double quotes of `where`, which SQLite reads as a text if there is no such column."""
    reads_others: bool = False
    """Whether `where` may read other tables."""


def parse_statement(sql: str) -> Fill | RowStatement | None:
    """Return the form of a statement; None if it has none of these."""
    tokens = tokenize(sql)
    if not tokens or any(token.text in _UNSTABLE or token.text in "?:@$#" for token in tokens):
        return None
    while tokens and tokens[-1].text == ";":
        tokens = tokens[:-1]
    try:
        return _StatementReader(sql, tokens).read()
    except _UnknownFormError:
        return None


class _StatementReader:
    """Reads tokens one after the other."""

    def __init__(self, sql: str, tokens: Sequence[Token]) -> None:
        self._sql, self._tokens, self._place = sql, tokens, 0

    def read(self) -> Fill | RowStatement:
        if self._skip_sql_words("INSERT", "INTO"):
            return self._read_fill()
        if self._skip_sql_words("DELETE", "FROM"):
            table = self._read_table()
            alias = self._read_alias()
            return self._read_rows(table, alias, ())
        if self._skip_sql_words("UPDATE"):
            table = self._read_table()
            alias = self._read_alias()
            return self._read_rows(table, alias, self._read_columns_set())
        raise _UnknownFormError

    def _read_fill(self) -> Fill:
        table, columns = self._read_table(), None
        if self._skip_sql_words("("):
            columns = self._read_names()
        self._require_sql_word("SELECT")
        if self._peek_sql_word() in {"DISTINCT", "ALL"}:
            raise _UnknownFormError
        raw = self._read_list("FROM")
        source = self._read_table()
        alias = self._read_alias()
        where = self._sql_of_tokens(self._read_where())
        items = tuple(self._read_item(each, {fold_name(source), fold_name(alias)}) for each in raw)
        return Fill(table, columns, items, source, alias, where)

    def _read_item(self, tokens: Sequence[Token], tables: set[str]) -> Item:
        plain = tokens
        if len(tokens) > 2 and tokens[-2].text == "AS" and tokens[-2].kind == "word":
            plain = tokens[:-2]
        sql = self._sql_of_tokens(plain)
        match [token.text for token in plain]:
            case ["*"]:
                return Item(sql, is_star=True)
            case [_, ".", "*"] if fold_name(self._decode_sql_name(plain[0])) in tables:
                return Item(sql, is_star=True)
            case [word] if plain[0].kind == "name" or (plain[0].kind == "word" and word not in _VALUES):
                return Item(sql, self._decode_sql_name(plain[0]))
            case [_, ".", _] if fold_name(self._decode_sql_name(plain[0])) in tables:
                return Item(sql, self._decode_sql_name(plain[2]))
        calls = {one.text for one, other in pairwise(plain) if other.text == "(" and one.kind in {"word", "name"}}
        if calls - _SCALAR:
            raise _UnknownFormError
        return Item(sql)

    def _read_list(self, end: str) -> list[list[Token]]:
        """Return the tokens between commas, up to a word outside of parentheses; the word is read too."""
        parts, depth = [list[Token]()], 0
        while (token := self._next_sql_token()).text != end or depth or token.kind != "word":
            depth = _parenthesis_depth(token, depth)
            if token.text == "," and not depth:
                parts.append([])
            else:
                parts[-1].append(token)
        if not all(parts):
            raise _UnknownFormError
        return parts

    def _read_columns_set(self) -> tuple[str, ...]:
        """Return the columns of `SET a = …, b = …`, up to WHERE or the end."""
        self._require_sql_word("SET")
        names, depth, is_start = list[str](), 0, True
        while self._place < len(self._tokens) and (depth or self._peek_sql_word() != "WHERE"):
            token = self._next_sql_token()
            if is_start:
                names.append(self._decode_sql_name(token))
                self._require_sql_word("=")
            elif not depth and token.kind == "word" and token.text in _ENDS_WHERE:
                raise _UnknownFormError
            depth = _parenthesis_depth(token, depth)
            is_start = token.text == "," and not depth
        if is_start:
            raise _UnknownFormError
        return tuple(names)

    def _read_rows(self, table: str, alias: str, columns: tuple[str, ...]) -> RowStatement:
        tokens = self._read_where()
        quoted = tuple(
            self._decode_sql_name(token) for token in tokens if token.kind == "name" and token.text[0] == '"'
        )
        in_table = any(one.text == "IN" and other.text != "(" for one, other in pairwise(tokens))
        reads_others = in_table or any(token.kind == "word" and token.text == "SELECT" for token in tokens)
        return RowStatement(table, self._sql_of_tokens(tokens), alias, columns, quoted, reads_others)

    def _read_where(self) -> Sequence[Token]:
        """Return the tokens of WHERE up to the end; none for all rows."""
        if self._place == len(self._tokens):
            return ()
        self._require_sql_word("WHERE")
        tokens, depth = self._tokens[self._place :], 0
        for token in tokens:
            depth = _parenthesis_depth(token, depth)
            if token.text == ";" or (not depth and token.kind == "word" and token.text in _ENDS_WHERE):
                raise _UnknownFormError
        if not tokens or depth:
            raise _UnknownFormError
        self._place = len(self._tokens)
        return tokens

    def _sql_of_tokens(self, tokens: Sequence[Token]) -> str:
        """Return the text of some tokens."""
        return self._sql[tokens[0].start : tokens[-1].end] if tokens else ""

    def _read_table(self) -> str:
        name = self._decode_sql_name(self._next_sql_token())
        if self._skip_sql_words("."):
            if fold_name(name) != "main":
                raise _UnknownFormError
            name = self._decode_sql_name(self._next_sql_token())
        return name

    def _read_alias(self) -> str:
        return self._decode_sql_name(self._next_sql_token()) if self._skip_sql_words("AS") else ""

    def _read_names(self) -> tuple[str, ...]:
        names = [self._decode_sql_name(self._next_sql_token())]
        while self._skip_sql_words(","):
            names.append(self._decode_sql_name(self._next_sql_token()))
        self._require_sql_word(")")
        return tuple(names)

    def _decode_sql_name(self, token: Token) -> str:
        """Return the name that a token writes."""
        text = self._sql[token.start : token.end]
        if token.kind == "word":
            return text
        if token.kind != "name":
            raise _UnknownFormError
        return text[1:-1] if text[0] == "[" else text[1:-1].replace(text[0] * 2, text[0])

    def _peek_sql_word(self) -> str:
        if self._place == len(self._tokens):
            raise _UnknownFormError
        token = self._tokens[self._place]
        return token.text if token.kind in {"word", "sign"} else ""

    def _next_sql_token(self) -> Token:
        if self._place == len(self._tokens):
            raise _UnknownFormError
        self._place += 1
        return self._tokens[self._place - 1]

    def _skip_sql_words(self, *texts: str) -> bool:
        """Read these words or signs if they follow."""
        found = self._tokens[self._place : self._place + len(texts)]
        if [token.text for token in found if token.kind in {"word", "sign"}] != [*texts]:
            return False
        self._place += len(texts)
        return True

    def _require_sql_word(self, text: str) -> None:
        if not self._skip_sql_words(text):
            raise _UnknownFormError


def _parenthesis_depth(token: Token, depth: int) -> int:
    """Return the number of open parentheses behind a token."""
    if token.kind == "sign":
        depth += (token.text == "(") - (token.text == ")")
    if depth < 0:
        raise _UnknownFormError
    return depth


_ON_CONFLICT = re.compile(r"\bON\s+CONFLICT\b", re.IGNORECASE)
"""A constraint with this clause may skip, replace or change rows (sqlite.org/lang_conflict.html)."""


@dataclass(frozen=True)
class RebuildLoss:
    """Rows or values of the old table that the new one does not have."""

    effect: Effect
    affected: Affected
    column: str = ""
    """Column that is left out."""


@dataclass(frozen=True)
class FillMapping:
    """Values of the old table in the new one."""

    kept: frozenset[str]
    """Folded columns that are copied by their own names, and keep their values."""
    changed: frozenset[str]
    """Folded columns that have other values."""
    losses: tuple[RebuildLoss, ...]


def map_fill(fill: Fill, old: Table, new: Table, columns: Sequence[str], origin: str) -> FillMapping | None:
    """Return where the values of some folded columns are after a fill; None if that is not clear.

    `origin` is the name of the old table in the database.
    """
    items = [*_expand_star(fill.items, old)]
    names = fill.columns or tuple(each.name for each in new.stored)
    sources = {fold_name(name): item for name, item in zip(names, items, strict=False)}
    is_unclear = not len(items) == len(names) == len(sources) or old.is_virtual or new.is_virtual
    if is_unclear or _ON_CONFLICT.search(mask_quoted_sql(new.sql)):
        return None
    kept, losses, changed = set[str](), list[RebuildLoss](), list[Affected]()
    alias = fill.alias or (fill.source if fold_name(fill.source) != fold_name(origin) else "")
    if fill.where:
        losses.append(RebuildLoss(Effect.DELETED, Affected(origin, f"({fill.where}\n) IS NOT TRUE", alias)))
    for name in columns:
        before, after = old.find_column(name), new.find_column(name)
        if before is None:
            return None
        column = quote_identifier(before.name)
        item = sources.get(name)
        if after is None or after.is_generated:
            losses.append(RebuildLoss(Effect.REMOVED, Affected(origin, f"{column} IS NOT NULL", alias), before.name))
        elif item is not None and fold_name(item.column) == name and _keeps_values(old, before, new, after):
            kept.add(name)
        elif item is not None and not item.column and before.affinity == after.affinity:
            changed.append(Affected(origin, f"({column} COLLATE BINARY) IS NOT ({item.sql}\n)", alias))
        else:
            changed.append(Affected(origin, f"{column} IS NOT NULL" if item else "", alias, is_bound=True))
    if changed:
        where = "" if any(not each.where for each in changed) else " OR ".join(each.where for each in changed)
        losses.append(
            RebuildLoss(Effect.CHANGED, Affected(origin, where, alias, any(each.is_bound for each in changed)))
        )
    others = frozenset(name for name in columns if name not in kept and new.find_column(name))
    return FillMapping(frozenset(kept), others, tuple(losses))


def _expand_star(items: Sequence[Item], table: Table) -> Iterator[Item]:
    """Yield an item for each column of `*`. A name that the table does not have is a value."""
    for each in items:
        if each.is_star:
            yield from (Item(quote_identifier(column.name), column.name) for column in table.all_columns)
        else:
            yield each if table.find_column(each.column) else Item(each.sql)


def _keeps_values(old: Table, before: Column, new: Table, after: Column) -> bool:
    """Return whether a copied column has the same values: its type changes none, and no empty one gets a number."""
    is_numbered = new.is_rowid(after) and not old.is_rowid(before) and not before.is_required
    return after.affinity in {before.affinity, "blob"} - {"any"} and not is_numbered
