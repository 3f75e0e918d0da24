"""Evaluate expressions of workflows, also with values that are still unknown.

Before a job starts, the outputs and results of other jobs may be unknown.

docs.github.com/actions/reference/workflows-and-actions/expressions
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

HIDDEN = "\0"
"""Placeholder in a text for a part that is not known yet."""
STATUS_FUNCTION = re.compile(r"\b(always|success|failure|cancelled)\s*\(")
_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(-?\d+(?:\.\d+)?)|([A-Za-z_][\w-]*)|(&&|\|\||[!=<>]=|[<>!().,*\[\]]))")
MAX_LENGTH = 21_000
"""Longest text with an expression: github.com/actions/runner/blob/main/src/Sdk/Expressions/ExpressionConstants.cs"""
EXPRESSION = re.compile(r"\$\{\{((?:'(?:[^']|'')*'|[^'])*?)\}\}", re.DOTALL)
"""`${{ }}` in a text; a string literal inside may contain braces."""


class InvalidWorkflow(Exception):
    """GitHub refuses the workflow file, so its run ends as `startup_failure`, without a job."""


class UnsupportedExpression(Exception):
    """A workflow uses a feature that this runner does not support. Nothing was started."""


class _Unknown:
    """A value that is known only after another job has run."""


UNKNOWN = _Unknown()


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """Values of the status functions for one job.

    docs.github.com/actions/reference/workflows-and-actions/expressions#status-check-functions
    """

    success: bool
    failure: bool
    cancelled: bool


def evaluate(text: str, contexts: Mapping[str, Any], status: JobStatus | None = None) -> Any:
    """Return the value, or UNKNOWN. A missing property is None. Without `status`, status functions are UNKNOWN.

    Raises:
        UnsupportedExpression: the expression has a syntax error or an unsupported feature.
    """
    whole = EXPRESSION.fullmatch(text.strip())
    parser = _ExpressionParser(list(_tokens(whole[1] if whole else text)), contexts, status)
    value = parser.parse()
    if parser.tokens:
        raise UnsupportedExpression(f"the expression `{text}` continues with {parser.tokens[0][1]!r}")
    return value


def render_text(template: str, contexts: Mapping[str, Any]) -> str:
    """Return the text with the value of each `${{ }}`; HIDDEN if it is unknown."""
    return EXPRESSION.sub(lambda found: _to_text(evaluate(found[1], contexts)), template)


@lru_cache(maxsize=1024)  # a label that starts nothing evaluates the same condition for each job
def _tokens(expression: str) -> tuple[tuple[str, str], ...]:
    found, at = [], 0
    expression = expression.strip()
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise UnsupportedExpression(
                f"the expression `{expression}` has a syntax error at {expression[at : at + 10]!r}"
            )
        kind = ("string", "number", "name", "sign")[(match.lastindex or 1) - 1]
        found.append((kind, match[match.lastindex or 1]))
        at = match.end()
    return tuple(found)


@dataclass
class _ExpressionParser:
    tokens: list[tuple[str, str]]
    contexts: Mapping[str, Any]
    status: JobStatus | None

    def parse(self) -> Any:
        value = self._parse_and()
        while self._accept("||"):
            other = self._parse_and()
            value = UNKNOWN if value is UNKNOWN else value if is_truthy(value) else other
        return value

    def _parse_and(self) -> Any:
        value = self._parse_comparison()
        while self._accept("&&"):
            other = self._parse_comparison()
            if value is UNKNOWN:
                value = UNKNOWN if other is UNKNOWN or is_truthy(other) else other
            else:
                value = other if is_truthy(value) else value
        return value

    def _parse_comparison(self) -> Any:
        value = self._parse_operand()
        for sign in ("==", "!=", "<", "<=", ">", ">="):
            if self._accept(sign):
                other = self._parse_operand()
                if UNKNOWN in (value, other):
                    return UNKNOWN
                return _compare(value, other, sign)
        return value

    def _parse_operand(self) -> Any:
        if self._accept("!"):
            value = self._parse_operand()
            return UNKNOWN if value is UNKNOWN else not is_truthy(value)
        if self._accept("("):
            value = self.parse()
            self._expect(")")
            return value
        kind, token = self.tokens.pop(0) if self.tokens else ("end", "")
        if kind == "string":
            return token[1:-1].replace("''", "'")
        if kind == "number":
            return float(token)
        if kind != "name":
            raise UnsupportedExpression(f"an expression has {token!r} in place of a value")
        if self._accept("("):
            return self._dereference(self._call(token))
        constants = {"true": True, "false": False, "null": None}
        return constants[token] if token in constants else self._path(token)

    def _path(self, root: str) -> Any:
        if root not in self.contexts:
            raise UnsupportedExpression(f"this runner does not support the context `{root}` here")
        return self._dereference(self.contexts[root])

    def _dereference(self, value: Any) -> Any:
        """Return the property that `.NAME` and `[…]` after a value name."""
        many = False
        while True:
            if self._accept("."):
                if self._accept("*"):
                    value, many = _elements(value), True
                    continue
                _, name = self.tokens.pop(0) if self.tokens else ("", "")
            elif self._accept("["):
                name = self.parse()
                self._expect("]")
            else:
                return value
            if many and isinstance(value, list):
                value = [item[name] for item in value if isinstance(item, Mapping) and name in item]
            elif value is not UNKNOWN:
                value = value.get(name) if isinstance(value, Mapping) else None

    def _call(self, name: str) -> Any:
        arguments = []
        while not self._accept(")"):
            arguments.append(self.parse())
            if not self._accept(","):
                self._expect(")")
                break
        if name in {"success", "failure", "cancelled"}:
            return getattr(self.status, name) if self.status else UNKNOWN
        if name not in _FUNCTIONS:
            raise UnsupportedExpression(f"this runner does not support the function `{name}`")
        return UNKNOWN if UNKNOWN in arguments else _FUNCTIONS[name](*arguments)

    def _accept(self, sign: str) -> bool:
        if self.tokens and self.tokens[0] == ("sign", sign):
            self.tokens.pop(0)
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise UnsupportedExpression(f"an expression lacks {sign!r}")


class _SyntaxParser(_ExpressionParser):
    """Reads an expression without a value of any context."""

    def _path(self, root: str) -> Any:
        if root.lower() not in self.contexts:
            raise InvalidWorkflow(f"Unrecognized named-value: '{root}'")
        return self._dereference(UNKNOWN)

    def _call(self, name: str) -> Any:
        if name.lower() not in _FUNCTION_NAMES:
            raise InvalidWorkflow(f"Unrecognized function: '{name}'")
        while not self._accept(")"):
            self.parse()
            if not self._accept(","):
                self._expect(")")
                break
        return UNKNOWN


_FUNCTION_NAMES = {
    *("always", "cancelled", "case", "contains", "endswith", "failure", "format", "fromjson", "hashfiles", "join"),
    *("startswith", "success", "tojson"),
}
"""docs.github.com/actions/reference/workflows-and-actions/expressions#functions, in lower case."""


def check_syntax(text: str, contexts: Iterable[str], *, is_condition: bool = False) -> None:
    """Check each expression of a text. A condition may be an expression without `${{ }}`.

    Raises:
        InvalidWorkflow: an expression has a syntax error, an unknown function, or a context that is not allowed there.
    """
    is_bare = is_condition and "${{" not in text
    if len(text) > MAX_LENGTH and (is_bare or "${{" in text):
        raise InvalidWorkflow(f"Exceeded max expression length {MAX_LENGTH}")
    whole = [text] * bool(text.strip()) if is_bare else [found[1] for found in EXPRESSION.finditer(text)]
    if EXPRESSION.sub("", text).count("${{"):
        raise InvalidWorkflow(f"The expression is not closed. An unescaped ${{{{ sequence was found: {text}")
    for expression in whole:
        try:
            parser = _SyntaxParser(list(_tokens(expression)), dict.fromkeys(contexts, UNKNOWN), None)
            parser.parse()
        except UnsupportedExpression as error:
            raise InvalidWorkflow(str(error)) from None
        if parser.tokens:
            raise InvalidWorkflow(f"the expression `{expression}` continues with {parser.tokens[0][1]!r}")


def is_truthy(value: Any) -> bool:
    return value not in (None, False, 0, "")


def _elements(value: Any) -> Any:
    if value is UNKNOWN:
        return UNKNOWN
    return list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []


def _are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    if type(one) is type(other):
        return bool(one == other)
    return _to_number(one) == _to_number(other)


def _compare(one: Any, other: Any, sign: str) -> bool:
    if sign in {"==", "!="}:
        return _are_equal(one, other) == (sign == "==")
    if isinstance(one, str) and isinstance(other, str):
        one, other = one.lower(), other.lower()
    else:
        one, other = _to_number(one), _to_number(other)
    return bool({"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[sign])


def _to_number(value: Any) -> float:
    """Return the number; NaN, which equals nothing, if the value is not a number."""
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return float("nan")


def _to_text(value: Any) -> str:
    if value is UNKNOWN:
        return HIDDEN
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def _contains(where: Any, what: Any) -> bool:
    if isinstance(where, list):
        return any(_are_equal(item, what) for item in where)
    return _to_text(what).lower() in _to_text(where).lower()


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise UnsupportedExpression(f"fromJSON: {text!r} is not JSON") from None


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "startsWith": lambda where, what: _to_text(where).lower().startswith(_to_text(what).lower()),
    "endsWith": lambda where, what: _to_text(where).lower().endswith(_to_text(what).lower()),
    "contains": _contains,
    "fromJSON": lambda text: _from_json(_to_text(text)),
    "toJSON": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    "format": lambda template, *values: re.sub(
        r"\{\{|\}\}|\{(\d+)\}", lambda found: _to_text(values[int(found[1])]) if found[1] else found[0][0], template
    ),
    "join": lambda values, separator=",": (
        separator.join(map(_to_text, values)) if isinstance(values, list) else _to_text(values)
    ),
    "always": lambda: True,
}
