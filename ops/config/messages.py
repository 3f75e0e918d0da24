"""Build the models of `ops.yml` from plain data, or a message for each problem."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, RootModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ops.config.strict_yaml import MAX_PROBLEMS, ConfigProblem, KeyPath, YamlDocument, describe_type
from ops.config.types import PATTERNS
from ops.core.names import did_you_mean, quote_name

M = TypeVar("M", bound=BaseModel)

_WANTED = {
    "model_type": 'write a mapping of "key: value" lines',
    "dict_type": 'write a mapping of "key: value" lines',
    "tuple_type": "write a list, such as [one, two]",
    "int_type": "write a whole number without quotes",
    "bool_type": "write true or false without quotes",
}


def build_model(
    root: type[M], document: YamlDocument, findings: Iterable[tuple[KeyPath, str]]
) -> tuple[M | None, list[ConfigProblem]]:
    """Return the model or None, and every problem.

    At each place the first problem is kept, because the reader's is closest to the cause. `findings` are the problems
    across models.
    """
    model, errors = _validated(root, document)
    problems: dict[tuple[int, KeyPath], ConfigProblem] = {}
    checked = (ConfigProblem(document.line(where), where, text) for where, text in findings)
    modelled = (_problem(root, document, error) for error in errors)
    for problem in chain(document.problems, checked, modelled):
        if len(problems) == MAX_PROBLEMS:
            last = max(line for line, _ in problems)
            return None, [*problems.values(), ConfigProblem(last, (), "too many problems; the rest is not listed")]
        problems.setdefault((problem.line, problem.path), problem)
    return model, list(problems.values())


def _validated(root: type[M], document: YamlDocument) -> tuple[M | None, list[ErrorDetails]]:
    if not document.complete:
        return None, []
    try:
        return root.model_validate(document.data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    # pydantic counts valid items only, so it calls a list of invalid items too short.
    return None, [detail for detail in details if detail["type"] != "too_short" or not detail["input"]]


def format_problems(path: str, problems: Iterable[ConfigProblem]) -> tuple[str, ...]:
    """Return the problems in the order of the file, each like `ops.yml:14 labels.x.runbook: missing; add it`."""
    ordered = sorted(problems, key=lambda problem: problem.line)
    return tuple(f"{path}:{line}{_place(where)}: {text}" for line, where, text in ordered)


def _place(path: KeyPath) -> str:
    steps = (f"[{part}]" if isinstance(part, int) else f".{quote_name(part)}" for part in path)
    return f" {''.join(steps).removeprefix('.')}" if path else ""


def _problem(root: type[BaseModel], document: YamlDocument, error: ErrorDetails) -> ConfigProblem:
    path = tuple(part for part in error["loc"] if part != "[key]")  # pydantic's mark for an error in a key itself
    return ConfigProblem(document.line(path), path, _sentence(root, error))


def _sentence(root: type[BaseModel], error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    what = describe_type(error["input"])
    match error["type"]:
        case "missing":
            return "missing; add it"
        case "extra_forbidden":
            return f"unknown key{did_you_mean(str(error['loc'][-1]), _keys_at(root, error['loc'][:-1]))}"
        case "value_error":
            return str(context["error"])
        case "string_pattern_mismatch":
            return PATTERNS[context["pattern"]]
        case "string_type":
            return f"{what}; {'put quotes around it' if isinstance(error['input'], (int, float)) else 'write text'}"
        case "string_too_short":
            return "empty; write text"
        case "too_short":
            return "empty; write at least one"
        case "string_too_long":
            return f"too long; write at most {context['max_length']} characters"
        case "greater_than_equal":
            return f"too small; write {context['ge']} or more"
        case "less_than_equal":
            return f"too large; write {context['le']} or less"
        case "literal_error":
            return f"unknown value; write {context['expected'].replace(chr(39), '')}"
        case other:
            return f"{what}; {_WANTED.get(other, 'see `ops config schema`')}"


def _keys_at(root: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys of the model at `path`."""
    model, containers = root, 0
    if issubclass(root, RootModel):
        annotation = root.model_fields["root"].annotation
        model, containers = next(_models(annotation)), _containers(annotation)
    for part in path:
        if containers:  # a key of a mapping or an index of a list, not a field
            containers -= 1
            continue
        field = next(field for key, field in _fields(model) if key == part)
        model = next(_models(field.annotation))
        containers = _containers(field.annotation)
    return [key for key, _ in _fields(model)]


def _containers(annotation: Any) -> int:
    """Return the nesting depth of containers: a mapping of lists is two."""
    inside = {Mapping: 1, tuple: 0}.get(get_origin(annotation))
    return 0 if inside is None else 1 + _containers(get_args(annotation)[inside])


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    return ((field.alias or name, field) for name, field in model.model_fields.items())


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
