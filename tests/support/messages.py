"""Read from the syntax trees of `ops` each place that makes a message: an error, a refusal, a plan, a finding, an event.

A place is a call that gets the text. A function that only passes its argument on is not one, but its callers are.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.support.syntax import parsed

ROOT = Path(__file__).parents[2]
FIELDS: Mapping[str, Mapping[str, int | None]] = {
    "OpsError": {"message": 0, "hint": None},
    "UsageError": {"message": 0},
    "RefusedRequest": {"message": None, "hint": None},
    "Finding": {"text": 0, "fix": 1},
    "RunOutcome": {"message": 2},
    "Change": {"target": 0, "before": 1, "after": 2, "done_when": 3},
    "PlanSection": {"title": 0, "lines": 1},
    "Plan": {
        "summary": 0,
        "not_undone": None,
        "consequences": None,
        "warnings": None,
        "done_message": None,
        "healthy_before_message": None,
        "proved_claim": None,
        "proof_limit": None,
        "tasks": None,
        "remaining_message": None,
    },
    "RunEvent": {"text": None},
}
"""Class → its fields that people read, each with the position of its argument; None if it is only given by name."""
BETWEEN_LINES = "\n"
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Position(NamedTuple):
    """End of a call: what the syntax tree and a running program say in the same way."""

    file: str
    line: int
    column: int


class Text(NamedTuple):
    """A text as the code has it, with inserted values as {expressions}, and the pattern of what people read."""

    shown: str
    pattern: str

    @property
    def has_words(self) -> bool:
        return bool(re.search(r"[A-Za-z]", re.sub(r"\{[^{}]*\}", "", self.shown)))

    @property
    def has_values(self) -> bool:
        return self.pattern != re.escape(self.shown)


@dataclass(frozen=True)
class Place:
    """A call that makes a message."""

    key: str
    """File, function, class and reason: it stays when lines move."""
    kind: str
    """Key of `FIELDS`."""
    line: int
    position: Position
    texts: Mapping[str, Text]


@dataclass
class _Module:
    path: Path
    name: str
    functions: dict[int, tuple[Function, ...]] = field(default_factory=dict)
    """Id of a call → the functions around it, the innermost last."""
    owners: dict[int, str] = field(default_factory=dict)
    """Id of a function → its dotted name."""
    classes: dict[int, ast.ClassDef] = field(default_factory=dict)
    """Id of a method → its class."""
    imported: dict[str, str] = field(default_factory=dict)
    """Name here → dotted name there."""
    calls: list[ast.Call] = field(default_factory=list)
    defined: list[ast.ClassDef] = field(default_factory=list)


@dataclass(frozen=True)
class _Maker:
    """A class or function that makes a message of its arguments: field → name and position of the argument."""

    kind: str
    arguments: Mapping[str, tuple[str, int | None]]


@cache
def places() -> tuple[Place, ...]:
    """Return every place of the code that makes a message, by file and line."""
    return tuple(_reader().places())


def lines_of_calls() -> set[str]:
    """Return FILE:LINE of each call that makes a message or passes one on."""
    found = [(module, call) for module in _reader().modules.values() for call, _, _ in _reader().calls(module)]
    return {f"{module.path.relative_to(ROOT)}:{call.lineno}" for module, call in found}


@cache
def _reader() -> "_Reader":
    return _Reader()


class _Reader:
    def __init__(self) -> None:
        self.modules = {each.name: each for each in map(_read, sorted((ROOT / "ops").rglob("*.py")))}
        self.makers: dict[str, _Maker] = {}
        """Dotted name of a class or function; a method has `.NAME` too."""
        seeds = {name: _Maker(name, {each: (each, n) for each, n in of.items()}) for name, of in FIELDS.items()}
        self.makers["click.UsageError"] = seeds.pop("UsageError")
        for module in self.modules.values():
            for node in parsed(module.path).body:
                if isinstance(node, ast.ClassDef) and node.name in seeds:
                    self.makers[f"{module.name}.{node.name}"] = seeds[node.name]
        self.makers[".record"] = _Maker("RunEvent", {"text": ("text", 1)})
        while self._add_makers():
            pass
        self.inner: dict[str, list[tuple[_Module, ast.Call]]] = {}
        """Name of a maker → the calls in it that make or pass on its message."""
        for module in self.modules.values():
            for call, _, _ in self.calls(module):
                if around := module.functions.get(id(call), ()):
                    own = _own_name(module, around[-1], module.classes.get(id(around[-1])))
                    self.inner.setdefault(own, []).append((module, call))

    def places(self) -> Iterator[Place]:
        for module in self.modules.values():
            if module.name == "ops.core.timeline":  # it records the texts of others
                continue
            seen: Counter[str] = Counter()
            for call, maker, name in sorted(self.calls(module), key=lambda each: (each[0].lineno, each[0].col_offset)):
                around = module.functions.get(id(call), ())
                given = {text: argument for text in maker.arguments if (argument := _argument(call, maker, text))}
                if not given or all(_forwarded(argument, around) for argument in given.values()):
                    continue
                texts = self._texts(module, call, around)
                file = module.path.relative_to(ROOT).as_posix()
                function = module.owners[id(around[-1])] if around else "(module)"
                words = [file, function, name, *_reason(call)]
                key = " ".join(words)
                seen[key] += 1
                number = f" {seen[key]}" if seen[key] > 1 else ""
                position = Position(file, call.end_lineno or 0, call.end_col_offset or 0)
                yield Place(key + number, maker.kind, call.lineno, position, texts)

    def _texts(self, module: _Module, call: ast.Call, around: tuple[Function, ...]) -> dict[str, Text]:
        """Return all texts of a message: those that the call gives, and those that its maker adds."""
        made_by = self._made_by(module, call)
        maker, texts = self.makers[made_by], {}
        for name in FIELDS[maker.kind]:
            argument = _argument(call, maker, name) if name in maker.arguments else None
            if argument:
                texts[name] = self._text(module, argument, around)
            elif name not in maker.arguments and (added := self._added(made_by, name)):
                texts[name] = added
        return texts

    def _added(self, maker: str, name: str) -> Text | None:
        """Return the text that the maker itself gives; None if it gives none."""
        found = []
        for module, call in self.inner.get(maker, ()):
            if text := self._texts(module, call, module.functions[id(call)]).get(name):
                found.append(text)
        return _any_of(list(dict.fromkeys(found))) if found else None

    def _add_makers(self) -> bool:
        """Add each class and function that passes an argument on as a text; return whether there was a new one."""
        before = len(self.makers)
        for module in self.modules.values():
            for node in module.defined:
                if (own := f"{module.name}.{node.name}") not in self.makers:
                    has_init = any(isinstance(each, Function) and each.name == "__init__" for each in node.body)
                    bases = [self.makers[name] for base in node.bases if (name := _dotted(module, base)) in self.makers]
                    if bases and not has_init:
                        self.makers[own] = bases[0]
            for call, maker, _ in list(self.calls(module)):
                around = module.functions.get(id(call), ())
                if not around:
                    continue
                function, of_class = around[-1], module.classes.get(id(around[-1]))
                names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
                names = names[1:] if of_class and names[:1] in (["self"], ["cls"]) else names
                passed = {
                    text: (name, names.index(name) if name in names else None)
                    for text in maker.arguments
                    if (name := _forwarded(_argument(call, maker, text), around[-1:]))
                }
                if passed and (own := _own_name(module, function, of_class)) not in self.makers:
                    self.makers[own] = _Maker(maker.kind, passed)
        return len(self.makers) > before

    def calls(self, module: _Module) -> Iterator[tuple[ast.Call, _Maker, str]]:
        for node in module.calls:
            around = module.functions.get(id(node), ())
            if around and around[-1].name.endswith("_from_json"):  # it reads what another place made
                continue
            if name := self._made_by(module, node):
                yield node, self.makers[name], name.rpartition(".")[2]

    def _made_by(self, module: _Module, call: ast.Call) -> str:
        """Return the maker that the call names; empty if it is none."""
        name = _dotted(module, call.func)
        if name in self.makers:
            return name
        around = module.functions.get(id(call), ())
        if name.endswith(".cls") and around and (of_class := module.classes.get(id(around[-1]))):
            own = f"{module.name}.{of_class.name}"
            return own if own in self.makers else ""
        if isinstance(call.func, ast.Attribute):
            if call.func.attr == "__init__" and ast.unparse(call.func.value) == "super()":
                around = module.functions.get(id(call), ())
                bases = module.classes[id(around[-1])].bases
                return next((base for each in bases if (base := _dotted(module, each)) in self.makers), "")
            if f".{call.func.attr}" in self.makers:
                return f".{call.func.attr}"
        return ""

    def _text(self, module: _Module, node: ast.expr, around: tuple[Function, ...], depth: int = 0) -> Text:
        """Return a text. A name is replaced by the texts that the function or module assigns to it."""

        def same(each: ast.expr) -> Text:
            return self._text(module, each, around, depth)

        match node:
            case ast.Constant(value=str(text)):
                return Text(text, re.escape(text))
            case ast.JoinedStr(values=values):
                return _joined(map(same, values))
            case ast.FormattedValue(value=ast.Name() as name) if name.id.strip("_").isupper():
                return same(name)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                parts = list(map(same, elements))
                shown = BETWEEN_LINES.join(each.shown for each in parts)
                return Text(shown, f"{BETWEEN_LINES}*".join(each.pattern for each in parts))
            case ast.Starred(value=value):
                return same(value)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return _joined(map(same, (left, right)))
            case ast.IfExp(body=body, orelse=other):
                return _any_of([same(body), same(other)])
            case ast.BoolOp(op=ast.Or(), values=values):
                return _any_of([same(each) for each in values])
            case ast.Name() if depth < 3 and (found := self._assigned(module, node, around)):
                home, texts = found
                inside = around if home is module else ()
                return _any_of([self._text(home, each, inside, depth + 1) for each in texts])
            case ast.FormattedValue(value=value):
                return Text("{" + ast.unparse(value) + "}", ".*")
            case _:
                return Text("{" + ast.unparse(node) + "}", ".*")

    def _assigned(
        self, module: _Module, name: ast.Name, around: tuple[Function, ...]
    ) -> tuple[_Module, list[ast.expr]] | None:
        """Return the texts that the name may have here, with their module; None if one may be something else."""
        for function in reversed(around):
            if name.id in _parameters(function):
                return None
            if found := _reaching(_assignments(function, name.id), name.lineno):
                return (module, found) if all(map(_is_text, found)) else None
        home_name, _, there = module.imported.get(name.id, f"{module.name}.{name.id}").rpartition(".")
        home = self.modules.get(home_name)
        found = [each.value for each in _assignments(parsed(home.path), there)] if home else []
        return (home, found) if home and found and all(map(_is_text, found)) else None


def _read(path: Path) -> _Module:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = _Module(path, name)
    _walk(module, parsed(path), (), ())
    return module


def _walk(module: _Module, node: ast.AST, around: tuple[Function, ...], names: tuple[str, ...]) -> None:
    """Read what is below the node, in these functions, with these names of classes and functions around it."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Name() | ast.Constant() | ast.expr_context():
                continue
            case ast.ImportFrom(module=str(home), names=imported):
                module.imported |= {each.asname or each.name: f"{home}.{each.name}" for each in imported}
            case ast.Import(names=imported):
                module.imported |= {each.asname or each.name: each.name for each in imported}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                module.owners[id(child)] = ".".join((*names, name))
                if isinstance(node, ast.ClassDef):
                    module.classes[id(child)] = node
                _walk(module, child, (*around, child), (*names, name))
                continue
            case ast.ClassDef(name=name):
                module.defined.append(child)
                _walk(module, child, around, (*names, name))
                continue
            case ast.Call():
                module.calls.append(child)
                module.functions[id(child)] = around
        _walk(module, child, around, names)


def _own_name(module: _Module, function: Function, of_class: ast.ClassDef | None) -> str:
    if of_class and function.name == "__init__":
        return f"{module.name}.{of_class.name}"
    return f".{function.name}" if of_class else f"{module.name}.{function.name}"


def _dotted(module: _Module, node: ast.expr) -> str:
    """Return the full name that a name or `module.name` has; empty for another expression."""
    if isinstance(node, ast.Subscript):
        return _dotted(module, node.value)
    if isinstance(node, ast.Name):
        return module.imported.get(node.id, f"{module.name}.{node.id}")
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in module.imported:
        return f"{module.imported[node.value.id]}.{node.attr}"
    return ""


def _argument(call: ast.Call, maker: _Maker, text: str) -> ast.expr | None:
    """Return the argument of a text; None if there is none, or if it is one of several behind a star."""
    name, position = maker.arguments[text]
    if position is not None and position < len(call.args):
        is_behind_star = any(isinstance(each, ast.Starred) for each in call.args[: position + 1])
        return None if is_behind_star else call.args[position]
    return next((each.value for each in call.keywords if each.arg == name), None)


def _parameters(function: Function) -> set[str]:
    return {each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)}


def _forwarded(node: ast.expr | None, around: tuple[Function, ...]) -> str:
    """Return the parameter that the argument is; empty if it is something else."""
    is_own = isinstance(node, ast.Name) and around and node.id in _parameters(around[-1])
    return node.id if is_own and isinstance(node, ast.Name) else ""


class _Assignment(NamedTuple):
    line: int
    end: int
    """Last line of the block with the statement."""
    value: ast.expr


def _assignments(scope: Function | ast.Module, name: str) -> list[_Assignment]:
    """Return what a function, or the top level of a module, assigns to the name."""
    return [_Assignment(each.lineno, end, value) for each, end in _statements(scope) for value in _values(each, name)]


@cache
def _statements(scope: Function | ast.Module) -> list[tuple[ast.stmt, int]]:
    """Return each statement of a function, or of the top level of a module, with the last line of its block."""
    found = []
    for node in ast.walk(scope) if isinstance(scope, Function) else [scope]:
        for block in (getattr(node, part, None) for part in ("body", "orelse", "finalbody")):
            if isinstance(block, list):
                end = max((each.end_lineno for each in block), default=0)
                found += [(each, end) for each in block]
    return found


def _reaching(found: list[_Assignment], line: int) -> list[ast.expr]:
    """Return what the name may have on this line: not what a later assignment has replaced by then."""
    before = [each for each in found if each.line < line]
    last = max((each.line for each in before if line <= each.end), default=0)
    return [each.value for each in before if each.line >= last]


def _values(statement: ast.AST, name: str) -> list[ast.expr]:
    """Return what the statement itself assigns to the name; the name for a value that is no text."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
            return [value]
        case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
            return [value]
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)) if len(targets) == len(values):
            pairs = zip(targets, values, strict=True)
            return [value for target, value in pairs if isinstance(target, ast.Name) and target.id == name]
        case ast.Assign(targets=[target]) | ast.For(target=target) | ast.AugAssign(target=target):
            return [each for each in _names(target) if each.id == name]
        case ast.With(items=items):
            targets = [each.optional_vars for each in items if each.optional_vars]
            return [each for target in targets for each in _names(target) if each.id == name]
        case _:
            return []


def _names(target: ast.expr) -> list[ast.Name]:
    """Return the names that the target of an assignment sets."""
    return [each for each in ast.walk(target) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]


def _is_text(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            return isinstance(value, str)
        case ast.JoinedStr():
            return True
        case ast.IfExp(body=body, orelse=other):
            return _is_text(body) and _is_text(other)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _is_text(left) or _is_text(right)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return any(map(_is_text, elements))
        case _:
            return False


def _reason(call: ast.Call) -> list[str]:
    """Return the reason, the kind of event or the answer that the call names, if any."""
    named = [each.value for each in call.keywords if each.arg in {"reason", "answer"}]
    for node in (*named, *call.args[:1]):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"Reason", "EventKind", "Answer"}:
            return [node.attr.lower()]
    return []


def _joined(texts: Iterator[Text]) -> Text:
    found = list(texts)
    return Text("".join(each.shown for each in found), "".join(each.pattern for each in found))


def _any_of(texts: list[Text]) -> Text:
    if len(texts) == 1:
        return texts[0]
    return Text(f"[{' | '.join(each.shown for each in texts)}]", f"(?:{'|'.join(each.pattern for each in texts)})")
