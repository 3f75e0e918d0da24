"""What a former release wrote, recorded once and repeated in the current sandbox.

To record a release, in a checkout with its commit:

    ./run tests.support.former_release VERSION COMMIT

This checks the commit out into a temporary folder, and runs its own program in its own sandbox through each story of
`former_stories.py`. The requests of the program that wrote, and the files in .ops, become one JSON file per story in
tests/core/old_records/VERSION/. Do not record again what is there: a release is recorded when the next one begins.

`repeat` sends the writes to the current sandbox at the same times, and it makes the same IDs. `read_workflows` returns
the workflow files that the release writes for the company, and `read_repository` a small repository of `ops init`.
"""

import base64
import io
import json
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from email.message import Message
from functools import cache
from pathlib import Path
from typing import Any

from sandbox import Sandbox
from sandbox.server import HttpRequest, HttpResponse
from tests.support import former_stories as stories
from tests.support.former_stories import Ferry

ROOT = Path(__file__).parent.parent.parent
RECORDS = ROOT / "tests" / "core" / "old_records"
READS = re.compile(r"/graphql|/telemetry/query|/bulk/get")
READING_SQL = ("SELECT ", "PRAGMA ", "EXPLAIN ")
SOURCE = "ops_maintenance.js"
"""Code of the Worker that the release uploads: in a file of its own, because many requests have it."""
WORKFLOWS = "workflows.json.xz"
"""Path → text of ops.yml and of the workflow files that the release writes for it."""
REPOSITORY = "repository.json.xz"
"""Path → text of the operations repository that `ops init` of the release writes for the shop of `adoption.py`."""
_REVIEWED = ("    token: FERRY_TOKEN", "    token: FERRY_TOKEN\n    approval: [security]")
_MORE = """\
  recover:booking:
    runbook: rollback-worker
    environment: live
    params: {service: booking}

watch: {for: 10m}
"""
OPS_YML = stories.OPS_YML.replace(*_REVIEWED) + _MORE
"""The company's configuration with one more label, a reviewer for the token of maintenance, and a watch."""
_MARK = f"{{{SOURCE}}}"
Answer = Callable[[HttpRequest], HttpResponse | None]


class _Draws:
    """The random numbers of which an account makes its IDs: given ones first."""

    def __init__(self, sandbox: Sandbox, given: Iterable[str] = ()) -> None:
        self._random, self.given, self.made = sandbox.account._random, list(given), list[str]()
        sandbox.account._random = self  # type: ignore[assignment]

    def getrandbits(self, bits: int) -> int:
        number = self._random.getrandbits(bits)
        number = int(self.given.pop(0), 16) if self.given else number
        self.made.append(f"{number:x}")
        return number

    def take(self) -> list[str]:
        """Return the numbers since the last call."""
        made, self.made = self.made, []
        return made


# Record.


class Recorder:
    """The former release as a process, and a record of what it wrote."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox, self._folder = sandbox, folder
        self._writes: list[dict[str, Any]] = []
        self._pid = 0
        self.draws = _Draws(sandbox)
        self.commands: list[dict[str, Any]] = []
        self._listen("cloudflare", sandbox.cloudflare)
        self._listen("github", sandbox.github._api)

    def _listen(self, name: str, api: Any) -> None:
        answer: Answer = api.answer

        def recorded(request: HttpRequest) -> HttpResponse | None:
            at, _ = self._sandbox.clock.now(), self.draws.take()
            response = answer(request)
            if _writes(request):
                made = {"status": response and response.status, "draws": self.draws.take()}
                self._writes.append(_to_json(name, request, at) | made)
            return response

        api.answer = recorded

    def __call__(self, *arguments: str, kill: Mapping[str, Any] | None = None, **environ: str) -> Mapping[str, str]:
        self._writes, draws = [], self.draws.take()
        output = self._folder / "output"
        output.unlink(missing_ok=True)
        hub = self._sandbox.github
        usual = {
            **self._sandbox.environ(),
            **hub.environ(),
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_OUTPUT": str(output),
            "LOGNAME": "alice",
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
        }
        usual.pop("CLOUDFLARE_API_TOKEN")
        if kill:
            self._add_fault(dict(kill))
        command = [sys.executable, "-m", "ops", *arguments]
        given = {name: text for name, text in {**usual, **environ}.items() if text}
        with subprocess.Popen(command, env=given, cwd=self._folder, stdout=-1, stderr=-1, text=True) as process:
            self._pid = process.pid
            out, err = process.communicate(timeout=120)
        print(arguments[0], "→", process.returncode, (out + err).strip()[-300:] if process.returncode else "")
        self._sandbox.faults.clear()
        self._sandbox.edge_faults.clear()
        outputs = _parse_outputs(output.read_text()) if output.exists() else {}
        done = {"command": " ".join(arguments), "code": process.returncode, "outputs": outputs}
        ended = {"ended": self._sandbox.clock.now().isoformat()}
        self.commands.append({**done, **ended, "draws": draws, "writes": self._writes})
        self.draws.take()
        return outputs

    def _add_fault(self, rule: dict[str, Any]) -> None:
        moment, at_edge = rule.pop("moment"), rule.pop("edge", False)
        hook = {moment: lambda: os.kill(self._pid, signal.SIGKILL)}
        lost = {"lost": "before"} if moment == "before" else {}
        (self._sandbox.edge_fault if at_edge else self._sandbox.fault)(**rule, **hook, **lost)


def _writes(request: HttpRequest) -> bool:
    if request.method == "GET" or READS.search(request.path):
        return False
    if request.path.endswith("/query"):
        body = json.loads(request.body)
        sent = [each["sql"] for each in body.get("batch", [body])]
        return not all(sql.startswith(READING_SQL) for sql in sent)
    return True


def _to_json(api: str, request: HttpRequest, at: datetime) -> dict[str, Any]:
    try:
        body: Any = request.body.decode().replace(_source(ROOT / "ops" / "cloudflare"), _MARK)
    except UnicodeDecodeError:
        body = {"base64": base64.b64encode(request.body).decode()}
    token = request.headers["authorization"].rpartition(" ")[2]
    written = {"at": at.isoformat(), "api": api, "token": token, "method": request.method, "target": request.target}
    return {**written, "type": request.headers.get("content-type", ""), "body": body}


@cache
def _source(folder: Path) -> str:
    return (folder / SOURCE).read_text()


def _parse_outputs(text: str) -> dict[str, str]:
    found = re.findall(r"^(\w+)<<(.+)\n((?:.*\n)*?)\2$", text, re.MULTILINE)
    return {name: value.removesuffix("\n") for name, _, value in found}


def _read_files(folder: Path) -> dict[str, str]:
    """Return the records in the folder. Its own name, which differs each time, is left out."""
    paths = sorted((folder / ".ops").rglob("*"))
    return {
        str(path.relative_to(folder)): path.read_text().replace(str(folder), ".") for path in paths if path.is_file()
    }


def record(name: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as path, Sandbox(account_id=stories.ACCOUNT, virtual_clock=True) as sandbox:
        folder = Path(path)
        object.__setattr__(sandbox.github.urls, "html", "https://github.com")  # in links, so that they are no port
        program = Recorder(sandbox, folder)
        stories.STORIES[name](stories.open_ferry(sandbox, folder, program))
        done = {"commands": program.commands, "draws": program.draws.take(), "files": _read_files(folder)}
        (target / f"{name}.json").write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n")


def record_workflows(target: Path) -> None:
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        (folder / "ops.yml").write_text(OPS_YML)
        shutil.copytree(ROOT / ".github" / "actions", folder / ".github" / "actions")
        command = [sys.executable, "-m", "ops", "workflows", "sync"]
        subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
        paths = [folder / "ops.yml", *sorted((folder / ".github" / "workflows").glob("*.yml"))]
        texts = {str(each.relative_to(folder)): each.read_text() for each in paths}
    _pack(texts, target / WORKFLOWS)


def record_repository(target: Path) -> None:
    from tests.support import adoption  # of the release

    with tempfile.TemporaryDirectory() as path, adoption.team(adoption.SHOP, Path(path)) as shop:
        adoption.build_shop(shop.world.sandbox)
        done = shop.init("--owner", "@shopdesk/on-call", "--token-location", "the safe")
        assert done.code == 0, done.err
        _pack(shop.files(), target / REPOSITORY)


def _pack(texts: Mapping[str, str], target: Path) -> None:
    target.write_bytes(lzma.compress(json.dumps(texts, indent=1).encode()))


def record_all(version: str, commit: str, names: list[str]) -> None:
    """Record a release with its own program and sandbox."""
    target = RECORDS / version
    target.mkdir(exist_ok=True)
    git = shutil.which("git")
    assert git
    packed = subprocess.run([git, "-C", str(ROOT), "archive", commit], check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as path:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(path, filter="data")
        for module in (__file__, stories.__file__):
            shutil.copy(module, Path(path, "tests", "support"))
        shutil.copy(Path(path, "ops", "cloudflare", SOURCE), target)
        calls = {name: f"record({name!r}, " for name in stories.STORIES} | {
            "workflows": "record_workflows(",
            "repository": "record_repository(",
        }
        for name in names or calls:
            print(f"— {name}", flush=True)
            call = f"f.{calls[name]}pathlib.Path({str(target)!r}))"
            script = f"import pathlib; from tests.support import former_release as f; {call}"
            subprocess.run([sys.executable, "-c", script], cwd=path, env={**os.environ, "PYTHONPATH": path}, check=True)


# Repeat.


class Repeated:
    """The writes of a former release, one command after the other."""

    def __init__(self, sandbox: Sandbox, recorded: Mapping[str, Any], source: str) -> None:
        self._sandbox, self._source = sandbox, source
        self._commands = [*recorded["commands"]]
        self._draws = _Draws(sandbox)
        self._last = recorded["draws"]
        self._go_on()

    def _go_on(self) -> None:
        """Prepare what the story does before the next command."""
        self._draws.given = [*(self._commands[0]["draws"] if self._commands else self._last)]

    def __call__(self, *_: str, **__: Any) -> Mapping[str, str]:
        command = self._commands.pop(0)
        for write in command["writes"]:
            self._draws.given = [*write["draws"]]
            self._send(write)
        self._sandbox.clock.set(datetime.fromisoformat(command["ended"]))
        self._go_on()
        outputs: Mapping[str, str] = command["outputs"]
        return outputs

    def _send(self, write: Mapping[str, Any]) -> None:
        sandbox = self._sandbox
        sandbox.clock.set(datetime.fromisoformat(write["at"]))
        api: Any = sandbox.cloudflare if write["api"] == "cloudflare" else sandbox.github._api
        headers = Message()
        sent = {"authorization": f"Bearer {write['token']}", "user-agent": "backout", "content-type": write["type"]}
        for name, text in {**sent, "host": "127.0.0.1"}.items():
            if text:
                headers[name] = text
        body = write["body"]
        data = (
            base64.b64decode(body["base64"]) if isinstance(body, dict) else body.replace(_MARK, self._source).encode()
        )
        request = HttpRequest(method=write["method"], target=write["target"], headers=headers, body=data)
        response: HttpResponse = api.answer(request)
        assert response.status == write["status"], f"{write['method']} {write['target']}: {response}"


def read_workflows(version: str) -> dict[str, str]:
    """Return path → text of ops.yml and of the workflow files that the release wrote for it."""
    return _unpack(RECORDS / version / WORKFLOWS)


def read_repository(version: str) -> dict[str, str]:
    """Return path → text of the operations repository that the release wrote."""
    return _unpack(RECORDS / version / REPOSITORY)


def _unpack(path: Path) -> dict[str, str]:
    texts: dict[str, str] = json.loads(lzma.decompress(path.read_bytes()))
    return texts


def repeat(version: str, name: str, sandbox: Sandbox, folder: Path) -> Ferry:
    """Bring the sandbox and the folder into the state in which the former release left the story."""
    recorded = json.loads((RECORDS / version / f"{name}.json").read_text())
    program = Repeated(sandbox, recorded, _source(RECORDS / version))
    ferry = stories.open_ferry(sandbox, folder, program)
    stories.STORIES[name](ferry)
    for path, text in recorded["files"].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return ferry


if __name__ == "__main__":
    record_all(sys.argv[1], sys.argv[2], sys.argv[3:])
