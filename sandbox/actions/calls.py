"""Read and check the workflow files that a job calls, as GitHub does before the first job.

docs.github.com/actions/reference/workflows-and-actions/reusing-workflow-configurations
docs.github.com/actions/how-tos/reuse-automations/reuse-workflows
github.com/actions/runner/tree/main/src/Sdk/WorkflowParser is GitHub's own parser; below, PARSER.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.actions.call_syntax import check_file, is_expression
from sandbox.actions.expressions import EXPRESSION, InvalidWorkflow, UnsupportedExpression, evaluate, render_text
from sandbox.actions.plan import order_jobs, parse_workflow, refuse_unsupported

MAX_LEVELS = 10
"""The caller and nine levels below it; four on Enterprise Server (*Nesting reusable workflows*)."""
MAX_CALLED = 50
"""Different files that one file may call, at any depth: PARSER/ParseOptions.cs, `MaxFiles`."""
_LEVELS = ("none", "read", "write")
_RESTRICTED = {"contents": "read", "packages": "read"}
"""Granted by a caller without permissions, with the restricted setting: PARSER/Conversion/PermissionsHelper.cs"""
_LOCAL = "./.github/workflows/"
_KINDS: Mapping[str, type | tuple[type, ...]] = {"boolean": bool, "number": (int, float)}


@dataclass(frozen=True, kw_only=True)
class WorkflowFile:
    """A workflow file, with the files that its jobs call."""

    path: str
    content: Mapping[str, Any]
    """As parsed. Without permissions of its own, a called file has those of its caller."""
    called: Mapping[str, "WorkflowFile"] = field(default_factory=dict)
    """Job → file that it calls."""

    @property
    def tree(self) -> "Iterator[WorkflowFile]":
        """Yield the file and all files below it."""
        yield self
        for other in self.called.values():
            yield from other.tree


def read_files(path: str, files: Mapping[str, bytes], *, writes_by_default: bool) -> WorkflowFile:
    """Return the workflow file with all files that it calls at any depth, also by jobs that will not run.

    `files` are those of the run's commit: a local call needs no checkout. `writes_by_default` is the repository's
    setting for a GITHUB_TOKEN without stated permissions.

    Raises:
        InvalidWorkflow: GitHub refuses the file or one that it calls.
        UnsupportedExpression: the workflow uses a feature that this runner does not support.
    """
    try:
        content = parse_workflow(files[path].decode())
        check_file(content)
    except (InvalidWorkflow, UnicodeDecodeError) as error:
        raise InvalidWorkflow(f"{path}: {error}") from None
    found = _FileReader(files, writes_by_default).read(path, content, ())
    if len({each.path for each in found.tree}) > MAX_CALLED + 1:
        raise InvalidWorkflow(f"{path} calls more than {MAX_CALLED} workflows")
    return found


@dataclass(frozen=True)
class _FileReader:
    files: Mapping[str, bytes]
    writes_by_default: bool

    def read(self, path: str, content: Mapping[str, Any], callers: tuple[str, ...]) -> WorkflowFile:
        called = {}
        for name, rules in content["jobs"].items():
            if "uses" in rules:
                try:
                    called[name] = self._call(name, rules, content, (*callers, path))
                except InvalidWorkflow as error:
                    raise InvalidWorkflow(f"{path}: job {name}: {error}") from None
        return WorkflowFile(path=path, content=content, called=called)

    def _call(
        self, name: str, rules: Mapping[str, Any], caller: Mapping[str, Any], callers: tuple[str, ...]
    ) -> WorkflowFile:
        refuse_unsupported(name, rules)
        path = _local_path(str(rules["uses"]))
        if path in callers:
            raise InvalidWorkflow(f"{path} calls itself: {' → '.join((*callers, path))}")
        if len(callers) >= MAX_LEVELS:
            raise InvalidWorkflow(f"Nested reusable workflow depth exceeded {MAX_LEVELS - 1}.")
        content = self._parse(path)
        trigger = _call_trigger(content["on"])
        _check_inputs(trigger.get("inputs") or {}, rules.get("with") or {})
        _check_secrets(trigger.get("secrets") or {}, rules.get("secrets"))
        granted = rules.get("permissions", caller.get("permissions"))
        self._check_permissions(path, content, granted)
        own = {"permissions": granted} if granted is not None and "permissions" not in content else {}
        return self.read(path, {**content, **own}, callers)

    def _parse(self, path: str) -> Mapping[str, Any]:
        if path not in self.files:
            raise InvalidWorkflow(f"error parsing called workflow {path}: workflow was not found")
        try:
            content = parse_workflow(self.files[path].decode())
            check_file(content)
            order_jobs(content["jobs"])
        except (InvalidWorkflow, UnicodeDecodeError) as error:
            raise InvalidWorkflow(f"error parsing called workflow {path}: {error}") from None
        for name, rules in content["jobs"].items():
            refuse_unsupported(name, rules)
        return content

    def _check_permissions(self, path: str, content: Mapping[str, Any], granted: Any) -> None:
        """Check those of the file and of each job, whether it will run or not.

        PARSER/Conversion/PermissionsHelper.cs
        """
        asked = {"The workflow": content.get("permissions") or {}}
        asked |= {f"The nested job '{name}'": rules.get("permissions") or {} for name, rules in content["jobs"].items()}
        for who, wanted in asked.items():
            over = [name for name, level in wanted.items() if not self._is_granted(granted, name, level)]
            if over:
                wants = ", ".join(f"{name}: {wanted[name]}" for name in over)
                allowed = ", ".join(f"{name}: {self._granted(granted, name)}" for name in over)
                raise InvalidWorkflow(
                    f"Error calling workflow '{path}'. {who} is requesting '{wants}', but is only allowed '{allowed}'."
                )

    def _is_granted(self, granted: Any, name: str, level: str) -> bool:
        return _LEVELS.index(level) <= _LEVELS.index(self._granted(granted, name))

    def _granted(self, granted: Any, name: str) -> str:
        if granted is None:
            return "write" if self.writes_by_default else _RESTRICTED.get(name, "none")
        return str(granted.get(name, "none"))


def _local_path(uses: str) -> str:
    if not uses.startswith("./"):
        raise UnsupportedExpression(f"this runner does not support a workflow of another repository: {uses}")
    name = uses.removeprefix(_LOCAL)
    if not uses.startswith(_LOCAL) or "/" in name or not name.endswith((".yml", ".yaml")):
        raise InvalidWorkflow(
            f"invalid value workflow reference: {uses}: it must be {_LOCAL}FILE.yml, without a version"
        )
    return uses.removeprefix("./")


def _call_trigger(on: Any) -> Mapping[str, Any]:
    triggers = {on: None} if isinstance(on, str) else dict.fromkeys(on) if isinstance(on, list) else on
    if "workflow_call" not in triggers:
        raise InvalidWorkflow("workflow_call key is not defined in the referenced workflow.")
    return triggers["workflow_call"] or {}


def _check_inputs(declared: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """PARSER/Conversion/WorkflowTemplateConverter.cs, `ConvertToWorkflowJobInputs`; names ignore case."""
    values = _by_lower_name(given)
    for name, rules in declared.items():
        if rules.get("required") and name.lower() not in values:
            raise InvalidWorkflow(f"Input {name} is required, but not provided while calling.")
        for value in (rules.get("default"), values.get(name.lower())):
            if value is not None and not is_expression(value):
                _convert(name, rules["type"], value)
    _refuse_undefined("input", declared, given)


def _check_secrets(declared: Mapping[str, Any], given: Any) -> None:
    """Check secrets passed by name, not inherited ones.

    PARSER/Conversion/WorkflowTemplateConverter.cs, `ValidateWorkflowJobSecrets`
    """
    if given == "inherit":
        return
    values = _by_lower_name(given or {})
    for name, rules in declared.items():
        if (rules or {}).get("required") and name.lower() not in values:
            raise InvalidWorkflow(f"Secret {name} is required, but not provided while calling.")
    _refuse_undefined("secret", declared, given or {})


def _refuse_undefined(kind: str, declared: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    known = _by_lower_name(declared)
    for name in given:
        if name.lower() not in known:
            raise InvalidWorkflow(f"Invalid {kind}, {name} is not defined in the referenced workflow.")


def _by_lower_name(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in values.items()}


def input_values(file: WorkflowFile, given: Mapping[str, Any], contexts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a called file: given ones, defaults, or the empty value of the type.

    docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#onworkflow_callinputs

    Raises:
        InvalidWorkflow: an expression has a value of another type, so the job that calls fails.
    """
    values, found = _by_lower_name(given), {}
    for name, rules in (_call_trigger(file.content["on"]).get("inputs") or {}).items():
        value = values.get(name.lower(), rules.get("default", _KIND_DEFAULTS[rules["type"]]))
        found[name] = _convert(name, rules["type"], _value(value, contexts))
    return found


def output_values(file: WorkflowFile, jobs: Mapping[str, Any], contexts: Mapping[str, Any]) -> dict[str, str]:
    """Return the outputs of a called file. `jobs.JOB.result` is empty, unlike GitHub's documentation says.

    github.com/actions/runner/issues/3087
    """
    declared = _call_trigger(file.content["on"]).get("outputs") or {}
    values = {name: render_text(str(rules["value"]), {**contexts, "jobs": jobs}) for name, rules in declared.items()}
    return {name: value for name, value in values.items() if value}


_KIND_DEFAULTS: Mapping[str, Any] = {"string": "", "boolean": False, "number": 0}


def _value(value: Any, contexts: Mapping[str, Any]) -> Any:
    if not is_expression(value):
        return value
    whole = EXPRESSION.fullmatch(value.strip())
    return evaluate(value, contexts) if whole else render_text(value, contexts)


def _convert(name: str, kind: str, value: Any) -> Any:
    """Return the value of an input. Only a text takes values of other types."""
    if kind == "string" and not isinstance(value, (list, dict)):
        return render_text("${{ value }}", {"value": value})
    if not isinstance(value, _KINDS[kind]) or (kind == "number" and isinstance(value, bool)):
        raise InvalidWorkflow(f"Input {name} must be a {kind}, not {value!r}")
    return value
