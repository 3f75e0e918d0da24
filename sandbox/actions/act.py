"""Run one job with act: the job as a workflow of its own, the process, and its log.

The log becomes steps of the Actions API and the log of the run. A job is cancelled as GitHub does it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.actions.expressions import EXPRESSION, evaluate, render_text
from sandbox.github import GitHubRepository
from sandbox.github.actions.state import FakeJob

_OUTPUT = re.compile(r"\bsteps\.([\w-]+)\.outputs\.([\w-]+)")
OUTPUT_STEP = "hands-over-the-outputs"
"""ID of the step that writes the job's outputs to a file. The log and the API do not show it."""
_RUNNER_KEYS = (
    "if",
    "needs",
    "name",
    "concurrency",
    "environment",
    "permissions",
    "timeout-minutes",
    "continue-on-error",
)
"""Keys of a job that the runner itself handles."""
_CONTEXT_PATH = re.compile(
    r"'(?:[^']|'')*'|(?<![\w.-])(?:(?:needs|inputs)\b(?:\s*\.\s*[\w*-]+|\s*\[\s*'(?:[^']|'')*'\s*\])*"
    r"|github\s*\.\s*(?:sha|triggering_actor|workflow_ref|workflow_sha)\b"
    r"|job\s*\.\s*workflow_(?:ref|sha|repository|file_path)\b)"
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_CANCEL_SIGNALS = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 5.0))
"""docs.github.com/actions/reference/workflows-and-actions/workflow-cancellation"""

_SETTLE_SECONDS = 5.0
"""Seconds that act gets to end after a signal between two steps, including the steps that it still runs."""
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
"""act gives its steps a terminal; GitHub does not."""


_READ_COMMIT = (
    'import os, urllib.request as r; e = os.environ; at = e["GITHUB_API_URL"] + "/repos/" + e["NAME"]; '
    'said = {"Authorization": "Bearer " + e["TOKEN"], "User-Agent": "checkout"}; '
    'r.urlopen(r.Request(at + "/commits/HEAD", headers=said))'
)
"""Program that fails if a token cannot read the contents of a repository."""
_NOT_READ = """echo "Error: fatal: repository '$NAME' not found"; exit 1"""

SET_UP, COMPLETE = "Set up job", "Complete job"
"""Steps that GitHub adds. The first one downloads actions."""


class OtherRepository(NamedTuple):
    """A repository that a step checks out, beside the one of its job."""

    folder: Path
    """A clone of its default branch."""
    is_on_github: bool
    """Whether the sandbox's GitHub has it."""


def single_job(
    workflow: Mapping[str, Any],
    name: str,
    contexts: Mapping[str, Any],
    outputs: Path,
    repositories: Mapping[str, OtherRepository] | None = None,
) -> str:
    """Return a workflow with only that job, as JSON, which is valid YAML.

    `contexts` hold `needs`, `github`, in a called file `inputs`, and `job` with the name of the file. act does not know
    them, so each of their values, such as `github.sha`, stands in place of its expression. A value is data: its text is
    never evaluated as an expression.
    Each checkout loses its `ref`, for which act would clone: the folder already holds that commit. That of another
    repository clones it from `repositories`, which has its name in lower case. An added last step writes the job's
    outputs to the file `outputs`, each followed by a NUL.
    """
    rules = workflow["jobs"][name]
    job = {key: _fill(value, contexts) for key, value in rules.items() if key not in (*_RUNNER_KEYS, "outputs", "env")}
    env, late = _split_env(rules.get("env") or {}, contexts)
    steps = [_step(step, late, contexts, repositories or {}) for step in rules.get("steps") or ()]
    if rules.get("outputs"):
        steps.append(_output_step(_fill(rules["outputs"], contexts), outputs))
    job |= {"runs-on": "ubuntu-latest", "env": env, "steps": steps}
    top = {key: _fill(workflow[key], contexts) for key in ("name", "on", "env", "defaults") if key in workflow}
    return json.dumps({**top, "jobs": {name: job}}, ensure_ascii=False, default=str)


def hide_undeclared_outputs(value: Any, declared: Mapping[str, Collection[str]]) -> Any:
    """Return a part of a workflow in which each output that a step's action does not declare is empty.

    act shows all outputs of the steps inside of an action. `declared` is step → outputs of its action.
    docs.github.com/actions/reference/workflows-and-actions/metadata-syntax#outputs-for-composite-actions
    """
    if isinstance(value, Mapping):
        return {key: hide_undeclared_outputs(each, declared) for key, each in value.items()}
    if isinstance(value, list):
        return [hide_undeclared_outputs(each, declared) for each in value]
    if not isinstance(value, str):
        return value
    return _OUTPUT.sub(lambda match: match[0] if match[2] in declared.get(match[1], (match[2],)) else "''", value)


def read_outputs(rules: Mapping[str, Any], file: Path) -> dict[str, str]:
    """Return the outputs that the last step wrote; empty if it did not run."""
    written = file.read_text(errors="replace").split("\0") if file.exists() else []
    return {name: value for name, value in zip(rules.get("outputs") or (), written, strict=False) if value}


def _split_env(env: Mapping[str, Any], contexts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split off the variables that use needs or inputs: they go to each step, because act reads a job's `env` twice."""
    data = re.compile(rf"\b({'|'.join(name for name in ('needs', 'inputs') if name in contexts)})\b")
    late = {key: _fill(value, contexts) for key, value in env.items() if data.search(str(value))}
    return {key: _fill(value, contexts) for key, value in env.items() if key not in late}, late


def _step(
    step: Mapping[str, Any],
    late: Mapping[str, Any],
    contexts: Mapping[str, Any],
    repositories: Mapping[str, OtherRepository],
) -> dict[str, Any]:
    filled: dict[str, Any] = _fill(step, contexts)
    if late:
        filled["env"] = {**late, **filled.get("env", {})}
    if str(step.get("uses", "")).startswith("actions/checkout@"):
        given = filled.pop("with", None) or {}
        if "repository" in given:
            del filled["uses"]
            return {**filled, **_clone_step(other_repository(step, contexts), given, repositories)}
        filled["with"] = {key: value for key, value in given.items() if key != "ref"}
    return filled


def other_repository(step: Mapping[str, Any], contexts: Mapping[str, Any]) -> str:
    """Return the repository that a step of actions/checkout names; "" for its own, or another action."""
    if not str(step.get("uses", "")).startswith("actions/checkout@"):
        return ""
    return render_text(str((step.get("with") or {}).get("repository", "")), contexts)


def _clone_step(name: str, given: Mapping[str, Any], repositories: Mapping[str, OtherRepository]) -> dict[str, Any]:
    """Return the step that checks out another repository, or fails if the runner does not have it.

    Where the sandbox's GitHub has the repository, the token of the step must read its contents.
    """
    found = repositories.get(name.lower())
    if found is None:
        return {"env": {"NAME": name}, "run": 'echo "Error: this runner has no repository $NAME"; exit 1'}
    into = '"$GITHUB_WORKSPACE/$INTO"'
    run = f'git clone -q "$FROM" {into} && git -C {into} remote remove origin'
    env = {"NAME": name, "FROM": str(found.folder), "INTO": given.get("path", ".")}
    if not found.is_on_github:
        return {"env": env, "run": run}
    env["TOKEN"] = given.get("token", "${{ github.token }}")
    return {"env": env, "run": f"python3 -c '{_READ_COMMIT}' || {{ {_NOT_READ}; }}\n{run}"}


def _output_step(outputs: Mapping[str, Any], file: Path) -> dict[str, Any]:
    names = [f"OUTPUT_{index}" for index in range(len(outputs))]
    values = " ".join(f'"${name}"' for name in names)
    env = dict(zip(names, outputs.values(), strict=True))
    run = f"printf '%s\\0' {values} > '{file}'"
    return {"id": OUTPUT_STEP, "if": "always()", "shell": "sh -e {0}", "env": env, "run": run}


def _fill(value: Any, contexts: Mapping[str, Any], key: str = "") -> Any:
    """Return the value at any depth with literals for the contexts that act does not know."""
    if isinstance(value, Mapping):
        return {name: _fill(inner, contexts, str(name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, contexts) for inner in value]
    if not isinstance(value, str):
        return value
    if key == "if" and "${{" not in value:
        return _replace_paths(value, contexts)
    return EXPRESSION.sub(lambda found: "${{" + _replace_paths(found[1], contexts) + "}}", value)


def _replace_paths(expression: str, contexts: Mapping[str, Any]) -> str:
    def literal(found: re.Match[str]) -> str:
        is_known = re.split(r"\W", found[0], maxsplit=1)[0] in contexts  # not a string, nor the inputs of a button
        return _literal(evaluate(found[0], contexts)) if is_known else found[0]

    return _CONTEXT_PATH.sub(literal, expression)


def _literal(value: Any) -> str:
    """Return the value as an expression inside `${{ }}`, without its quotes, dollars and double braces."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = _STRING.sub(
        lambda string: re.sub(r"['${}]", lambda sign: f"\\u{ord(sign[0]):04x}", string[0]), json.dumps(value)
    )
    return "fromJSON('" + text.replace("{", "{ ").replace("}", "} ") + "')"


class ActNotFound(Exception):
    """The program act is not installed."""


def find_act() -> Path:
    """Return the path of act, next to this Python or on the PATH.

    Raises:
        ActNotFound: act is not installed.
    """
    beside = Path(sys.executable).parent / "act"
    found = beside if beside.exists() else shutil.which("act")
    if found is None:
        raise ActNotFound("act, which runs the workflow files, is not installed: install the extra backout[sandbox]")
    return Path(found)


@dataclass(frozen=True, kw_only=True)
class ActInvocation:
    """Input of one job. The environment of its steps has these variables and few others."""

    event: str
    workflow: Path
    actions: Mapping[str, Path]
    """`owner/name@ref` → folder used instead of a download."""
    payload: Mapping[str, Any]
    actor: str
    environ: Mapping[str, str]
    secrets: Mapping[str, str]
    variables: Mapping[str, str]

    def arguments(self, payload: Path, secrets: Path) -> list[str]:
        """Return the arguments of act, without secret values: any process can read the arguments of another."""
        pairs = [("--env", self.environ), ("--var", self.variables)]
        if self.event == "workflow_dispatch":
            pairs.append(("--input", self.payload["inputs"]))
        given = [word for flag, values in pairs for name, value in values.items() for word in (flag, f"{name}={value}")]
        files = ["-W", str(self.workflow), "-e", str(payload), "--secret-file", str(secrets)]
        fixed = ["--json", "--no-cache-server", "-P", "ubuntu-latest=-self-hosted", "-a", self.actor]
        given += [word for uses, at in self.actions.items() for word in ("--local-repository", f"{uses}={at}")]
        return [self.event, *files, *fixed, *given]


class ActProcess:
    """One running job, started in `repository`; its home directory is in `folder`."""

    def __init__(self, invocation: ActInvocation, folder: Path, repository: Path, pip_cache: Path) -> None:
        payload, self._secrets = folder / "event.json", folder / "secrets.yml"
        payload.write_text(json.dumps(invocation.payload))
        self._secrets.touch(mode=0o600)
        self._secrets.write_text(json.dumps(dict(invocation.secrets), ensure_ascii=False))
        home = folder / "home"
        share_compiled_modules(home, pip_cache / "ops-compiled")
        path = f"{pip_cache / 'ops-programs'}:{Path(sys.base_prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        environ = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "PIP_CACHE_DIR": str(pip_cache)}
        environ["OPS_WHEELS"] = str(pip_cache / "ops-wheels")  # used by the setup action of our workflows
        environ["PIP_ROOT_USER_ACTION"] = "ignore"  # steps on a GitHub runner do not run as root
        self._process = subprocess.Popen(
            [str(find_act()), *invocation.arguments(payload, self._secrets)],
            cwd=repository,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._ended, self._first_step = threading.Event(), threading.Event()

    def follow(self, on_line: Callable[[Mapping[str, Any]], object]) -> int:
        """Pass each line of the log to `on_line` until act ends, and return its exit code. Only `msg` is masked."""
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                try:
                    read = json.loads(line)
                except ValueError:
                    read = {"msg": line}
                if "jobID" in read:  # act has read the secrets
                    self._secrets.unlink(missing_ok=True)
                if read.get("stage"):
                    self._first_step.set()
                on_line(read)
        self._first_step.set()
        code = self._process.wait()
        self._ended.set()
        return code

    def cancel(self) -> None:
        """Send SIGINT to the program of the step, later SIGTERM, then SIGKILL. act itself continues to the last step.

        Between two steps, act gets the SIGINT. During a step it would kill the program at once, which GitHub does not.
        Before the first step, act runs a short program of its own, whose end would cancel nothing.
        """
        self._first_step.wait(_SETTLE_SECONDS)
        targets = child_processes(self._process.pid)
        if not targets:
            _send_signal(self._process.pid, signal.SIGINT)
            if self._ended.wait(_SETTLE_SECONDS):
                return
            targets = child_processes(self._process.pid)  # act started the next step all the same
        for number, seconds in _CANCEL_SIGNALS:
            for pid in targets if number != signal.SIGKILL else self._descendants():
                _send_signal(pid, number)
            if _wait_for_end(targets, seconds, self._ended):
                return

    def kill(self) -> None:
        """Kill act and all its descendants at once. act comes first: it would log the end of its step as a failure."""
        _send_signal(self._process.pid, signal.SIGSTOP)  # it starts nothing more
        for pid in (self._process.pid, *self._descendants()):
            _send_signal(pid, signal.SIGKILL)

    def _descendants(self) -> list[int]:
        found, waiting = [], [self._process.pid]
        while waiting:
            below = child_processes(waiting.pop())
            found += below
            waiting += below
        return found


def share_compiled_modules(home: Path, compiled: Path) -> None:
    """Make the home directory of a job. Its Python programs keep compiled modules in the folder `compiled`."""
    site = home / f".local/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    site.mkdir(parents=True)
    compiled.mkdir(parents=True, exist_ok=True)
    (site / "compiled").symlink_to(compiled.resolve())
    shutil.copyfile(Path(__file__).with_name("compiled_modules.py"), site / "usercustomize.py")


def child_processes(parent: int) -> list[int]:
    """Return the process IDs of the children; empty if `ps` is not available."""
    try:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    pairs = (line.split() for line in listed.splitlines())
    return [int(pid) for pid, of in pairs if int(of) == parent]


def _send_signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_any_running(pids: list[int]) -> bool:
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        return True
    return False


def _wait_for_end(pids: list[int], seconds: float, ended: threading.Event) -> bool:
    """Return whether the processes ended in time."""
    return any(ended.wait(0.1) or not _is_any_running(pids) for _ in range(int(seconds * 10)))


class JobRecorder:
    """Records the steps and the log of one job. `steps` are those of the workflow file."""

    def __init__(
        self,
        github: GitHubRepository,
        job: FakeJob,
        steps: Sequence[Mapping[str, Any]],
        log: list[str],
        *,
        secrets: Iterable[str],
        on_line: Callable[[str], object],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._github, self._job, self._steps, self._log = github, job, steps, log
        self._on_line, self._is_cancelled = on_line, is_cancelled
        lines = {line for secret in secrets for line in (secret, *secret.splitlines()) if line.strip()}
        self._secrets = sorted(lines, key=len, reverse=True)
        self._index = {str(step.get("id", index)): index for index, step in enumerate(steps)}
        self._next = 0
        """Index of the next step in the workflow file."""
        self._is_in_step = False

    def add_line(self, line: Mapping[str, Any]) -> None:
        """Record one line of act's log. Only its `msg` is kept, because act masks nothing else."""
        step = line.get("stepID") or [""]
        if step[0] == OUTPUT_STEP:
            return
        for text in _COLORS.sub("", str(line.get("msg", ""))).splitlines():
            masked = self.mask_secrets(text)
            self._log.append(masked)
            if line.get("raw_output"):
                self._on_line(masked)
        if line.get("stage") == "Main" and len(step) == 1 and step[0] in self._index:
            self._record_step(line, self._index[step[0]])
        elif line.get("step") in {SET_UP, COMPLETE} and "stepResult" in line:
            self._skip_to(len(self._steps) if line["step"] == COMPLETE else 0)
            self._add(str(line["step"]), str(line["stepResult"]))

    def mask_secrets(self, text: str) -> str:
        """Mask secrets line by line, as GitHub does. act does not mask multi-line secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def contains_secret(self, text: str) -> bool:
        return any(secret in text for secret in self._secrets)

    def _record_step(self, line: Mapping[str, Any], index: int) -> None:
        """Record the start of a step with its first line, and its end. Without an end, it stays in progress."""
        name = str(line.get("step", "")) if "name" in self._steps[index] else _step_name(self._steps[index])
        if index < self._next:
            return  # a line after the end of its step
        if not self._is_in_step:
            self._skip_to(index)
            self._begin(name)
        if "stepResult" in line:
            self._next = index + 1
            conclusion = str(line["stepResult"])
            self._end(name, "cancelled" if conclusion == "failure" and self._is_cancelled() else conclusion)

    def _skip_to(self, index: int) -> None:
        """Record the steps that act skipped without a log line."""
        for step in self._steps[self._next : index]:
            self._add(_step_name(step), "skipped")
        self._next = max(self._next, index)

    def _add(self, name: str, conclusion: str) -> None:
        self._begin(name)
        self._end(name, conclusion)

    def _begin(self, name: str) -> None:
        self._github.start_step(self._job, name[:100])
        self._is_in_step = True

    def _end(self, name: str, conclusion: str) -> None:
        self._github.end_step(self._job, name[:100], conclusion)
        self._is_in_step = False


def _step_name(step: Mapping[str, Any]) -> str:
    """Return the step's name as GitHub shows it."""
    first = "".join(str(step.get("run", "")).splitlines()[:1])
    return str(step.get("name") or f"Run {step.get('uses') or first}")
