"""The files of a repository: out of a real checkout into the sandbox, and out of a commit into a folder for act."""

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sandbox.actions.expressions import Unsupported
from sandbox.actions.plan import TOKEN, checkouts, own, read

_UNKNOWN_TO_ACT = re.compile(r"^ +(?:queue: (?:max|single)|deployment: (?:true|false)) *(?:#.*)?\n", re.MULTILINE)

_INSERTED = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)


class NoCheckout(Exception):
    """The folder is no checkout of a git repository."""


def tracked(folder: Path, *, but: Callable[[str], bool] = lambda _: False) -> dict[str, bytes]:
    """Return path → content of the files that git knows, as they stand now. Files for which `but` is true are not read.

    Raises NoCheckout.
    """
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise NoCheckout(f"{folder} is no checkout of a git repository") from None
    files = {name: folder / name for name in listed.stdout.split("\0") if name and not but(name)}
    return {name: path.read_bytes() for name, path in files.items() if path.is_file()}


def lay_out(files: Mapping[str, bytes], folder: Path) -> None:
    """As a git repository of one commit. What begins with `#!` can be executed."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if content.startswith(b"#!"):
            path.chmod(0o755)
    who = ["-c", "user.name=sandbox", "-c", "user.email=sandbox@example.com", "-c", "core.excludesFile=/dev/null"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A", "-f"], ["commit", "-q", "--no-gpg-sign", "-m", "all"]):
        subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True)


def for_act(workflow: str, *, ref: str, sha: str) -> str:
    """The same for a run of that GITHUB_REF and GITHUB_SHA, but for what act 0.2.89 cannot do.

    The lines `concurrency.queue` and `environment.deployment`, which it rejects, are left out. Each checkout with a
    `ref` is given the run's own, as act clones for every other one: what it names is laid out before. Secrets and the
    token have a name of their own in each job (`plan.own`), and `github.sha`, which act takes from the folder, is the
    sha itself. Raises Unsupported where a line does not stand alone.
    """
    known = _UNKNOWN_TO_ACT.sub("", workflow)
    if read(known) != _without(read(workflow)):
        raise Unsupported("act does not know `queue` and `deployment`; let each stand on a line of its own")
    own = _with_own_ref(known, ref)
    if read(own) != with_ref(read(known), ref):
        raise Unsupported("act clones for the `ref` of a checkout; let it stand on a line of its own")
    return _with_own_names(own, sha)


def with_ref(workflow: dict[str, Any], ref: str) -> dict[str, Any]:
    """It, with that `ref` in each checkout that has one."""
    for job in workflow["jobs"].values():
        for given in checkouts(job):
            if "ref" in given:
                given["ref"] = ref
    return workflow


def _with_own_ref(workflow: str, ref: str) -> str:
    for _, job in reversed(_jobs(workflow)):
        steps = _value(job, "steps")
        for step in reversed(steps.value if steps else []):
            uses, given = _value(step, "uses"), _value(step, "with")
            named = _value(given, "ref")
            if named and uses and uses.value.startswith("actions/checkout@"):
                workflow = f"{workflow[: named.start_mark.index]}'{ref}'{workflow[named.end_mark.index :]}"
    return workflow


def _value(mapping: Any, name: str) -> Any:
    """The node of that key, or None."""
    return next((value for key, value in mapping.value if key.value == name), None) if mapping else None


def _jobs(workflow: str) -> list[tuple[int, Any]]:
    """The index and the node of each."""
    import yaml

    return list(enumerate(job for _, job in _value(yaml.compose(workflow), "jobs").value))


def _with_own_names(workflow: str, sha: str) -> str:
    for index, job in reversed(_jobs(workflow)):
        start, end = job.start_mark.index, job.end_mark.index
        workflow = workflow[:start] + _renamed(workflow[start:end], index, sha) + workflow[end:]
    return workflow


def _renamed(job: str, index: int, sha: str) -> str:
    def within(found: re.Match[str]) -> str:
        expression = re.sub(r"\bgithub\.token\b", f"secrets.{TOKEN}", found[0])
        expression = re.sub(r"\bgithub\.sha\b", f"'{sha}'", expression)
        return re.sub(r"(?<![\w.-])secrets\.([A-Za-z_]\w*)", lambda name: f"secrets.{own(index, name[1])}", expression)

    return _INSERTED.sub(within, job)


def _without(workflow: dict[str, Any]) -> dict[str, Any]:
    for place in (workflow, *workflow["jobs"].values()):
        for key, unknown in (("concurrency", "queue"), ("environment", "deployment")):
            if isinstance(place.get(key), dict):
                place[key].pop(unknown, None)
    return workflow
