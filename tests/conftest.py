"""Shared fixtures: a sandbox on loopback with a frozen clock, and the public command line."""

import gc
import ipaddress
import json
import os
import re
import socket
import sys
import tempfile
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import settings

import ops
from ops import cli
from ops.app import registry
from ops.tools.process import memory_folder
from sandbox import Sandbox
from sandbox.github import GitHub
from tests.support import team_files
from tests.support.in_process import answered_in_process
from tests.support.message_record import MessageRecorder
from tests.support.parts import Part
from tests.support.prepared_python import RunPython, prepared_python
from tests.support.varying import without_what_differs

if TYPE_CHECKING:
    from tests.support.shop import Shop

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "examples" / "fortunet"
"""The reference application, with the ops.yml and limits.yml of all tests; the root's files belong to the team."""
ACCOUNT = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
"""The production account of the reference application."""
WORKER = "fortunet-api"
SITE = "fortunet-frontend"


_connected: list[weakref.ref[socket.socket]] = []
"""Sockets that this test connected to a server."""


def _note_connection(arguments: tuple[Any, ...]) -> None:
    """Note the socket, and refuse one to the internet."""
    if isinstance(arguments[1], tuple):
        _connected.append(weakref.ref(arguments[0]))
        host = arguments[1][0]
        if host not in {"127.0.0.1", "localhost"} and not ipaddress.ip_address(host).is_loopback:
            raise AssertionError(f"a test tried to reach {host}")


def find_unclosed_sockets() -> None:
    """Let Python warn of a socket that this test made and nobody closed. Otherwise a later test would get the blame."""
    if any(each is not None and each.fileno() != -1 for each in (made() for made in _connected)):
        gc.collect()
    _connected.clear()


_REFUSED = {
    "socket.connect": _note_connection,
    "open": team_files.refuse_open,
    "subprocess.Popen": team_files.refuse_program,
}


def _audit(
    event: str, arguments: tuple[Any, ...], refused: Mapping[str, Callable[[tuple[Any, ...]], None]] = _REFUSED
) -> None:
    """Fail if a test does a forbidden thing. One hook for all, because Python calls it thousands of times in a run.

    `refused` is a parameter, because Python also calls the hook at its end, when the names of the module are gone.
    """
    if event in refused:
        refused[event](arguments)


sys.addaudithook(_audit)


# pytest rewrites each test module for its asserts: once, not in each run of each worker.
sys.dont_write_bytecode = False


settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile(
    "fresh", parent=settings.get_profile("default"), derandomize=False, deadline=None, database=None
)
settings.register_profile("hunt", parent=settings.get_profile("fresh"), max_examples=1000)


def pytest_configure(config: pytest.Config) -> None:
    """Properties try the same examples in each run, unless a seed or a profile is given.

    The folders of tests are in memory: to make and delete one on a disk takes 1 ms of CPU, and a checkout by act 1 s.
    """
    if folder := memory_folder():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))
    for path in config.getoption("--runbook"):
        name = registry.add_runbook_file(path)
        cli.cli.add_runbook(name, registry.find_runbook_file(name))
    if _is_fast(config):
        collect_ignore.extend(SLOW_FOLDERS)
    config.pluginmanager.register(Part.parse(config.getoption("--part")))
    config.pluginmanager.register(MessageRecorder(config))
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("fresh" if config.getoption("--hypothesis-seed") else "fixed")


collect_ignore = ["static"]
"""Folders whose tests run only by a command that names them. `./run check` names this one."""
SLOW_FOLDERS = ("acceptance", "merge", "sandbox")
"""Folders whose tests are all slow. The fast set does not import them."""


def _is_fast(config: pytest.Config) -> bool:
    expression: str = config.getoption("markexpr")
    return expression == "not slow" or expression.endswith(" and not slow")


WAITING = (ROOT / "tests" / "drills", ROOT / "tests" / "merge" / "drills", ROOT / "tests" / "acceptance")
"""Folders of tests that mostly wait for other programs and for time."""


OVER_SOCKETS = tuple(ROOT / "tests" / name for name in ("acceptance", "merge/drills", "merge/sandbox", "sandbox"))
"""Folders whose tests are of whole programs, or of the sandbox itself."""

_cases: Counter[tuple[str, str]] = Counter()


def _is_slow(marks: Iterable[pytest.Mark]) -> bool:
    return any(mark.name == "slow" for mark in marks)


def _step(sampled: pytest.Mark) -> int:
    """Return the distance of two cases that are in the fast set."""
    return sampled.args[0] if sampled.args else sys.maxsize


def pytest_pycollect_makeitem(collector: pytest.Collector, obj: object) -> list[pytest.Item] | None:
    """Make no cases of a slow test for the fast set."""
    return [] if _is_fast(collector.config) and _is_slow(getattr(obj, "pytestmark", ())) else None


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Iterator[None]:
    """Make no slow case for the fast set. If each one is slow, `-m` deselects them."""
    yield
    if _is_fast(metafunc.config):
        sampled = metafunc.definition.get_closest_marker("sampled")
        cases = metafunc._calls[:: _step(sampled) if sampled else 1]
        metafunc._calls = [case for case in cases if not _is_slow(case.marks)] or cases


@cache
def _is_in_slow_folder(path: Path) -> bool:
    """There are 12,000 tests in 600 files."""
    return path.relative_to(ROOT / "tests").parts[0] in SLOW_FOLDERS


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark as slow what is in a folder of slow tests, and all but a sample of the cases of `sampled`."""
    if _is_in_slow_folder(item.path):
        item.add_marker(pytest.mark.slow)
    if _is_fast(item.config):  # `pytest_generate_tests` has made no others
        return
    if (sampled := item.get_closest_marker("sampled")) and isinstance(item, pytest.Function):
        table = (item.path.as_posix(), item.originalname)
        if _cases[table] % _step(sampled):
            item.add_marker(pytest.mark.slow)
        _cases[table] += 1


@cache
def _is_waiting(path: Path) -> bool:
    return path.parent in WAITING


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread over the run the tests that mostly wait: the others use the processors meanwhile."""
    found: dict[bool, list[pytest.Item]] = {True: [], False: []}
    for item in items:
        found[_is_waiting(item.path)].append(item)
    places = {item: place / len(group) for group in found.values() for place, item in enumerate(group)}
    items.sort(key=lambda item: places[item])


gc.disable()  # what imports and collection make stays; `pytest_collection_finish` turns it on again


def pytest_collection_finish() -> None:
    """Exclude existing objects from garbage collection, and collect less often."""
    gc.freeze()
    gc.set_threshold(5_000)
    gc.enable()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish() -> Iterator[None]:
    """Collect once and exclude the rest, with what the others make: pytest collects ten times at its end."""
    team_files.allow_cleanup()
    gc.collect()
    gc.disable()  # the syntax trees of all messages are a million objects
    yield
    gc.freeze()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the workers for these cores: slow tests wait for other programs and for the time, fast ones less.

    For two cores these are five for the whole suite, and three for named files and for the fast set.
    """
    cores = os.cpu_count() or 2
    is_part = _is_fast(config) or config.getoption("file_or_dir")
    return cores // 2 + (cores if is_part else 2 * cores)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what the program says now, instead of comparing"
    )
    parser.addoption("--part", metavar="N/COUNT", help="run one of several parts of the tests, such as 2/6")
    parser.addoption("--messages-to", metavar="FILE", help="write the messages that the tests made, for all parts")
    about = "run the tests of every runbook with this file alone, which may be outside the repository"
    parser.addoption("--runbook", action="append", default=[], type=lambda text: Path(text).resolve(), help=about)


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


def assert_golden(name: str, text: str, *, update: bool) -> None:
    """Compare with tests/publish/golden, without the hidden block at the end."""
    path = ROOT / "tests" / "publish" / "golden" / f"{name}.md"
    shown = without_what_differs(text.rpartition("<!-- backout")[0] or text)
    if update:
        path.write_text(shown)
    assert shown == path.read_text()


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The JSON result of a run with --json."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out + self.err
        parsed: dict[str, Any] = json.loads(lines[0])
        return parsed

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]


READS_BY_POST = ("/graphql", "/telemetry/query", "/bulk/get")
"""Paths of Cloudflare's API that only read, although the method is POST."""


def _only_reads(body: Any) -> bool:
    """Return whether the body of a query to D1 has no statement that writes."""
    return all(each["sql"].startswith(("SELECT ", "PRAGMA ", "EXPLAIN SELECT ")) for each in body["batch"])


def workflow_run(github: GitHub, environ: Mapping[str, str | None]) -> dict[str, str]:
    """Return the number of the workflow run to which the GITHUB_TOKEN belongs; add it if GitHub has none.

    GitHub makes this token for a run of a workflow, and its records only count with one.
    """
    if environ.get("GITHUB_TOKEN") != github.token:
        return {}
    number = environ.get("GITHUB_RUN_ID") or ""
    made = github.add_run("rollback-worker.yml", int(number) if number.isdecimal() else 5001)
    return {} if number else {"GITHUB_RUN_ID": str(made)}


def job_environ(github: GitHub) -> dict[str, str]:
    """Return the variables of a job of GitHub Actions, with the number of its run."""
    return {**github.environ(), **workflow_run(github, github.environ())}


@dataclass
class World:
    """A sandbox, a folder with the reference application's ops.yml, and the command line."""

    sandbox: Sandbox
    folder: Path

    def ops(self, *arguments: str, **environ: str | None) -> Outcome:
        """Run a command line in this process; None removes a variable."""
        scrubbed = {name: None for name in os.environ if name.startswith(("GITHUB_", "GH_", "CLOUDFLARE_", "OPS_"))}
        variables: dict[str, str | None] = {**scrubbed, **self.sandbox.environ(), **environ}
        variables |= workflow_run(self.sandbox.github, variables)
        self.sandbox.github.catch_up()  # people and jobs start commands seconds apart
        with CliRunner().isolation(env=variables) as (out, err, _):
            ops.STARTED = time.monotonic()  # else a duration of a typed command is the age of this process
            code = cli.run(arguments)
            return Outcome(code, out.getvalue().decode(), err.getvalue().decode())

    def rollback(self, *arguments: str, **environ: str | None) -> Outcome:
        """Run `ops rollback-worker` on the service of ops.yml, with --yes and --json."""
        where = ["--service", "api", "--environment", "production", "--config", str(self.config)]
        return self.ops("rollback-worker", *where, "--yes", "--json", *arguments, **environ)

    def rollback_pages(self, *arguments: str, **environ: str | None) -> Outcome:
        """Run `ops rollback-pages` on the site of ops.yml, with --yes and --json."""
        where = ["--service", "frontend", "--environment", "production", "--config", str(self.config)]
        return self.ops("rollback-pages", *where, "--yes", "--json", *arguments, **environ)

    def site(self, ago: timedelta, home: str | None, **deployment: Any) -> str:
        """Deploy a site with this home page (None: without one) `ago`, and return the deployment ID."""
        if SITE not in self.sandbox.pages.projects:
            self.sandbox.pages.add_project(SITE, domains=["fortunet.example"])
        files = deployment.pop("files", {}) | ({} if home is None else {"index.html": f"<h1>{home}</h1>".encode()})
        return self.sandbox.pages.add_deployment(SITE, files=files, at=self.sandbox.clock.now() - ago, **deployment)

    @property
    def served(self) -> str | None:
        """Return the deployment that production serves."""
        return self.sandbox.pages.live(SITE)

    @property
    def config(self) -> Path:
        return self.folder / "ops.yml"

    def verify_three_rounds(self) -> None:
        """Require three healthy rounds, as the reference application's ops.yml does."""
        self.edit_config("successes: 1", "successes: 3")

    def edit_config(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def release(self, ago: timedelta, *, deploy: bool = True, **upload: Any) -> str:
        """Upload a version and give it all traffic `ago`; return the version ID."""
        at = self.sandbox.clock.now() - ago
        version = self.sandbox.upload(WORKER, at=at, **upload)
        if deploy:
            self.sandbox.deploy(WORKER, version, at=at)
        return version

    def writes(self) -> list[Any]:
        """Return the requests to Cloudflare that were no reads."""
        sent = [r for r in self.sandbox.requests if r.method != "GET" and r.path.startswith("/client/")]
        sent = [each for each in sent if not each.path.endswith(READS_BY_POST)]
        return [each for each in sent if not (each.path.endswith("/query") and _only_reads(each.body))]

    @property
    def live(self) -> dict[str, float]:
        return self.sandbox.live(WORKER)


@dataclass(frozen=True)
class Incident:
    """An incident issue on the sandbox's GitHub, and runs for it."""

    world: World
    number: int

    @property
    def github(self) -> GitHub:
        return self.world.sandbox.github

    @property
    def bodies(self) -> list[str]:
        return [comment.body for comment in self.github.issue(self.number).comments]

    def rollback(self, *arguments: str, **environ: str | None) -> Outcome:
        return self.world.rollback("--incident", str(self.number), *arguments, **{**self.github.environ(), **environ})

    def rollback_pages(self, *arguments: str, **environ: str | None) -> Outcome:
        given = {**self.github.environ(), **environ}
        return self.world.rollback_pages("--incident", str(self.number), *arguments, **given)

    def ops(self, *arguments: str, **environ: Any) -> Outcome:
        return self.world.ops(*arguments, **{**self.github.environ(), **environ})

    def show(self, *arguments: str, **environ: Any) -> Outcome:
        """Run `ops incident show`."""
        where = (str(self.number), "--config", str(self.world.config))
        return self.ops("incident", "show", *where, *arguments, **environ)

    @property
    def timeline(self) -> list[str]:
        """Return the lines of the timeline that `ops incident show` prints before the state."""
        return [line for line in self.show().out.splitlines() if re.match(r"\d{4}-", line)]


@pytest.fixture
def without_collection() -> Iterator[None]:
    """Keep the garbage collector off where a text that is nested too deep fills the stack.

    A finalizer of an object that an earlier test left, such as urllib3's of a pool of connections, fails there with a
    RecursionError, and pytest reports that of the test that runs.
    """
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Put the temporary folders of this process and its children where pytest makes and deletes its own."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))


@pytest.fixture(scope="session")
def python() -> Iterator[RunPython]:
    with prepared_python() as run:
        yield run


@pytest.fixture(autouse=True)
def transport(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let requests to a sandbox take sockets in the first case of each slow test; the others differ in what they send."""
    case = getattr(request.node, "callspec", None)
    is_first = case is None or not any(case.indices.values())
    is_slow = request.node.get_closest_marker("slow") is not None
    over_sockets = (is_first and is_slow) or any(map(request.path.is_relative_to, OVER_SOCKETS))
    with nullcontext() if over_sockets else answered_in_process():
        yield
    find_unclosed_sockets()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(account_id=ACCOUNT, virtual_clock=True) as running:
        running.github.switches.plan = "enterprise"
        running.switches.pages_propagation_seconds = 1.0  # each wait is free, but each read of it is not
        yield running


@pytest.fixture
def one_machine(sandbox: Sandbox) -> None:
    """Let the edge have one machine, for tests that count reads or name the moment at which a site changes."""
    sandbox.switches.edge_machines_differ = False


@pytest.fixture
def world(sandbox: Sandbox, tmp_path: Path) -> World:
    """Require one healthy round; tests of rounds set their own number."""
    config = (REFERENCE / "ops.yml").read_text().replace("deadline: 2m", "deadline: 10s")
    (tmp_path / "ops.yml").write_text(config.replace("successes: 3", "successes: 1"))
    return World(sandbox, tmp_path)


@pytest.fixture
def shop(world: World) -> "Shop":
    from tests.support.shop import open_shop

    return open_shop(world)


@dataclass(frozen=True)
class Releases:
    good: str
    bad: str


@pytest.fixture
def releases(world: World) -> Releases:
    """Release a good version two hours ago and a bad one ten minutes ago."""
    good = world.release(timedelta(hours=2), code="good", tag="4.1.0")
    bad = world.release(timedelta(minutes=10), code="bad", tag="4.2.0", behaviour={"status": 500})
    return Releases(good, bad)


@pytest.fixture
def sites(world: World) -> Releases:
    """Deploy a good site two hours ago and one ten minutes ago that fails its home page probe."""
    world.edit_config("content-type: text/html\n", "content-type: text/html\n              body: good\n")
    return Releases(
        world.site(timedelta(hours=2), "good", commit="a" * 40),
        world.site(timedelta(minutes=10), "bad", commit="b" * 40),
    )


@pytest.fixture
def incident(world: World) -> Incident:
    hub = world.sandbox.github
    hub.add_user("alice")
    hub.add_user("zoe", "read")
    return Incident(world, hub.open_issue("API answers 500", "Since 10:00.", ["incident"], "alice"))
