"""Parse the part of GraphQL that the queries of Backout use.

Fields, aliases, arguments, variables and inline fragments (spec.graphql.org/October2021/#sec-Language). No named
fragments, directives, mutations or introspection.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r"""\s*(?:,|\#[^\n]*|(\.\.\.|[{}()\[\]:!=]|\$?[A-Za-z_]\w*|-?\d+(?:\.\d+)?|"(?:[^"\\]|\\.)*"))""")


class SyntaxProblem(ValueError):
    """The query has a syntax error; the text says where."""


@dataclass
class Field:
    name: str
    alias: str
    arguments: dict[str, Any] = field(default_factory=dict)
    fields: list["Field"] = field(default_factory=list)
    on: str = ""
    """Type of the inline fragment that holds the field; empty outside of one."""


def parse(text: str, variables: Mapping[str, Any]) -> list[Field]:
    """Return the fields of the single query.

    Raises:
        SyntaxProblem: a syntax error, or a variable that is missing, not declared, or declared and not used
        (spec.graphql.org/October2021/#sec-Validation.Variables).
    """
    return _QueryParser(text, variables).query()


class _QueryParser:
    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._tokens = list(_tokens(text))
        self._variables = variables
        self._declared: set[str] = set()
        self._used: set[str] = set()

    def query(self) -> list[Field]:
        if self._next() != "query":
            raise SyntaxProblem("only queries are supported")
        if self._peek().isidentifier():
            self._next()
        if self._peek() == "(":
            self._declarations()
        fields = self._selection()
        for name in sorted({f"${name}" for name in self._variables} - self._declared):
            raise SyntaxProblem(f"variable {name} is given but not declared")
        for name in sorted(self._declared - self._used):
            raise SyntaxProblem(f"variable {name} is declared but not used")
        if self._tokens:
            raise SyntaxProblem(f'unexpected "{self._tokens[0]}"')
        return fields

    def _declarations(self) -> None:
        self._expect("(")
        while self._peek() != ")":
            name = self._next()
            self._expect(":")
            kind = self._next()
            required = self._peek() == "!"
            if required:
                self._next()
            if not name.startswith("$") or not kind.isidentifier():
                raise SyntaxProblem(f"{name} is not a valid variable declaration")
            if required and self._variables.get(name[1:]) is None:
                raise SyntaxProblem(f"variable {name} is not given")
            self._declared.add(name)
        self._expect(")")

    def _selection(self) -> list[Field]:
        self._expect("{")
        fields = []
        while self._peek() != "}":
            fields.extend(self._fragment() if self._peek() == "..." else [self._field()])
        self._expect("}")
        return fields

    def _fragment(self) -> list[Field]:
        self._expect("...")
        self._expect("on")
        kind = self._name()
        fields = self._selection()
        for each in fields:
            each.on = kind
        return fields

    def _field(self) -> Field:
        name = alias = self._name()
        if self._peek() == ":":
            self._next()
            name = self._name()
        found = Field(name, alias)
        if self._peek() == "(":
            self._expect("(")
            found.arguments = self._pairs(")")
        if self._peek() == "{":
            found.fields = self._selection()
        return found

    def _pairs(self, end: str) -> dict[str, Any]:
        pairs = {}
        while self._peek() != end:
            name = self._name()
            self._expect(":")
            pairs[name] = self._value()
        self._expect(end)
        return pairs

    def _value(self) -> Any:
        token = self._next()
        if token.startswith("{"):
            return self._pairs("}")
        if token.startswith("["):
            items = []
            while self._peek() != "]":
                items.append(self._value())
            self._expect("]")
            return items
        if token.startswith("$"):
            if token not in self._declared:
                raise SyntaxProblem(f"variable {token} is not declared")
            self._used.add(token)
            return self._variables.get(token[1:])
        if token.startswith('"'):
            return token[1:-1]
        return int(token) if re.fullmatch(r"-?\d+", token) else token

    def _name(self) -> str:
        token = self._next()
        if not token.isidentifier():
            raise SyntaxProblem(f'expected a name, found "{token}"')
        return token

    def _peek(self) -> str:
        if not self._tokens:
            raise SyntaxProblem("the query ends too early")
        return self._tokens[0]

    def _next(self) -> str:
        self._peek()
        return self._tokens.pop(0)

    def _expect(self, token: str) -> None:
        if (found := self._next()) != token:
            raise SyntaxProblem(f'expected "{token}", found "{found}"')


def _tokens(text: str) -> Iterator[str]:
    at, text = 0, text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise SyntaxProblem(f"unexpected character at {at}")
        at = found.end()
        if found[1]:
            yield found[1]
