"""The files of a repository: out of a real checkout into the sandbox, and out of a commit into a folder for act."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.sandbox.runner.expressions import Unsupported
from ops.sandbox.runner.plan import TOKEN, own, read

_UNKNOWN_TO_ACT = re.compile(r"^ +(?:queue: (?:max|single)|deployment: (?:true|false)) *(?:#.*)?\n", re.MULTILINE)

_INSERTED = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)


class NoCheckout(Exception):
    """The folder is no checkout of a git repository."""


def tracked(folder: Path) -> dict[str, bytes]:
    """Path → content of the files that git knows, as they stand now. Raises NoCheckout."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise NoCheckout(f"{folder} is no checkout of a git repository") from None
    files = {name: folder / name for name in listed.stdout.split("\0") if name}
    return {name: path.read_bytes() for name, path in files.items() if path.is_file()}


def lay_out(files: Mapping[str, bytes], folder: Path, workflow: str) -> None:
    """As a git repository of one commit, that workflow as act takes it. What begins with `#!` can be executed."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(for_act(content.decode()).encode() if name == workflow else content)
        if content.startswith(b"#!"):
            path.chmod(0o755)
    who = ["-c", "user.name=sandbox", "-c", "user.email=sandbox@example.com", "-c", "core.excludesFile=/dev/null"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A", "-f"], ["commit", "-q", "--no-gpg-sign", "-m", "all"]):
        subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True)


def for_act(workflow: str) -> str:
    """The same, but for what act 0.2.89 cannot do.

    The lines `concurrency.queue` and `environment.deployment`, which it rejects, are left out; secrets and the token
    have a name of their own in each job (`plan.own`). Raises Unsupported where a line does not stand alone.
    """
    known = _UNKNOWN_TO_ACT.sub("", workflow)
    if read(known) != _without(read(workflow)):
        raise Unsupported("act does not know `queue` and `deployment`; let each stand on a line of its own")
    return _with_own_secrets(known)


def _with_own_secrets(workflow: str) -> str:
    import yaml

    whole = yaml.compose(workflow)
    assert whole is not None
    (jobs,) = (value for key, value in whole.value if key.value == "jobs")
    for index, (_, job) in reversed(list(enumerate(jobs.value))):
        start, end = job.start_mark.index, job.end_mark.index
        workflow = workflow[:start] + _renamed(workflow[start:end], index) + workflow[end:]
    return workflow


def _renamed(job: str, index: int) -> str:
    def within(found: re.Match[str]) -> str:
        expression = re.sub(r"\bgithub\.token\b", f"secrets.{TOKEN}", found[0])
        return re.sub(r"(?<![\w.-])secrets\.([A-Za-z_]\w*)", lambda name: f"secrets.{own(index, name[1])}", expression)

    return _INSERTED.sub(within, job)


def _without(workflow: dict[str, Any]) -> dict[str, Any]:
    for place in (workflow, *workflow["jobs"].values()):
        for key, unknown in (("concurrency", "queue"), ("environment", "deployment")):
            if isinstance(place.get(key), dict):
                place[key].pop(unknown, None)
    return workflow
