"""Names that are not its own are never written, and a killed run leaves nothing that `--cleanup` does not delete."""

import hashlib
import signal
from itertools import cycle

import httpx
import pytest
from hypothesis import strategies as st

from ops.cloudflare.own_writes import OwnWritesTransport
from ops.cloudflare.types.inventory import NamedResource
from ops.core.errors import Refused
from ops.core.redaction import Secret
from ops.core.verification_name import PREFIX, is_verification_name, make_verification_name
from ops.platform.account import QUIET_LOOKS
from sandbox import Sandbox
from tests.support.properties import holds_for
from tests.support.verification import ACCOUNT, MeasuredAccount, is_write, measured_account
from tests.support.whole_state import account_states

DIGITS = "0123456789abcdef"
RUN = st.text(DIGITS, min_size=8, max_size=8)


def genuine(run: str) -> str:
    """Return the name of a run, by the rule on the page about the command."""
    return f"{PREFIX}{run}{hashlib.sha256(f'{PREFIX}{run}'.encode()).hexdigest()[:4]}"


def with_wrong_checksum(name: str) -> str:
    return name[:-1] + DIGITS[(DIGITS.index(name[-1]) + 1) % len(DIGITS)]


OWN = RUN.map(genuine)
FOREIGN = st.one_of(
    RUN.map(genuine).map(with_wrong_checksum),
    RUN.map(genuine).map(lambda name: f"{name}-a"),
    RUN.map(genuine).map(lambda name: name[:-1]),
    RUN.map(genuine).map(lambda name: f"a{name}"),
    st.text(f"{DIGITS}-", min_size=1, max_size=20).map(lambda text: f"{PREFIX}{text}".rstrip("-")),
    st.text("abcdefgh-", min_size=3, max_size=12).map(lambda text: f"w{text}w"),
).filter(lambda name: not is_verification_name(name))


def test_made_names_are_recognized() -> None:
    names = [make_verification_name() for _ in range(50)]

    assert all(is_verification_name(name) and name == genuine(name[len(PREFIX) :][:8]) for name in names)
    assert len({*names}) == 50


def foreign_state(measured: MeasuredAccount) -> list[object]:
    """Return everything that belongs to others, with its content."""
    sandbox = measured.sandbox
    return [
        sorted(
            (name, [*worker.versions], worker.live)
            for name, worker in sandbox.account.workers.items()
            if not is_verification_name(name)
        ),
        sorted(
            (name, [each.id for each in site.deployments])
            for name, site in sandbox.pages.projects.items()
            if not is_verification_name(name)
        ),
        sorted(
            (each.id, each.title, sorted(each.entries))
            for each in sandbox.kv.namespaces.values()
            if not is_verification_name(each.title)
        ),
        sorted(
            (each.id, len(each.store.history.states))
            for each in sandbox.d1.databases.values()
            if not is_verification_name(each.name)
        ),
    ]


@holds_for(
    6,
    500,
    foreign=st.lists(FOREIGN, max_size=4, unique=True),
    left=st.lists(OWN, max_size=2, unique=True),
    is_whole=st.sampled_from([False] * 9 + [True]),
)
def test_other_names_are_never_written(foreign: list[str], left: list[str], is_whole: bool) -> None:
    """Leftovers are deleted by --cleanup alone, so a run spares those of a colleague's run."""
    with measured_account() as measured:
        for name in (*foreign, *left):
            measured.add(name)
        before = foreign_state(measured)

        outcome = measured.verify("--yes") if is_whole else measured.verify("--cleanup", "--yes")

        assert outcome.code == 0, outcome.err
        assert foreign_state(measured) == before
        assert sorted({*measured.left()}) == (sorted(left) if is_whole else [])


@pytest.fixture(scope="module")
def writes() -> list[int]:
    """Return the numbers of the requests of a run that write."""
    from tests.support.in_process import answered_in_process

    with answered_in_process(), measured_account() as measured:
        measured.verify("--yes")
        return [at for at, each in enumerate(measured.sandbox.requests) if is_write(each)]


WRITES = 50
"""Of a run."""


MOVED_BY_A_READ = (25, 27, 29)
"""Writes before which a read moves the build of a site on. No other state differs between two writes."""
KILLS = [*((number, "before") for number in (0, *MOVED_BY_A_READ)), *((number, "after") for number in range(WRITES))]


@pytest.mark.slow
def test_kills_meet_each_state_of_a_run() -> None:
    with measured_account() as measured:
        states = measured.states_around_writes(account_states)

    assert len(states) == 2 * WRITES, "some are not tried, or twice"
    assert [at for at in range(1, WRITES) if states[2 * at - 1] != states[2 * at]] == [*MOVED_BY_A_READ]


@pytest.mark.sampled(25)
@pytest.mark.parametrize(("number", "moment"), KILLS)
def test_cleanup_leaves_nothing_of_a_killed_run(writes: list[int], number: int, moment: str) -> None:
    assert len(writes) == WRITES, "some are not tried, or twice"
    with measured_account() as measured:
        measured.verify_killed(writes[number], moment)

        outcome = measured.verify("--cleanup", "--yes")

        assert outcome.code == 0, outcome.err
        assert measured.left() == []


@pytest.mark.sampled
@pytest.mark.parametrize("number", range(0, WRITES, 10))
def test_cleanup_leaves_nothing_of_a_run_that_lost_its_connection(writes: list[int], number: int) -> None:
    request = writes[number]
    with measured_account() as measured:
        sent = measured.sandbox.requests
        measured.sandbox.fault(when=lambda _: len(sent) == request + 1, lost="after", times=1)
        gone = measured.sandbox.fault(when=lambda _: len(sent) > request + 1, lost="before", times=None)
        failed = measured.verify("--yes")
        gone.remove()

        outcome = measured.verify("--cleanup", "--yes")

        assert failed.code != 0
        assert outcome.code == 0, outcome.err
        assert measured.left() == []


def test_cleanup_deletes_what_a_list_shows_late() -> None:
    """A list may be behind a creation: a resource appears before the last look."""
    looks: list[str] = []
    with measured_account() as measured:

        def appear() -> None:
            looks.append("quiet")
            if len(looks) == QUIET_LOOKS - 1:
                measured.add(NAME)

        measured.sandbox.clock.on_sleep = appear

        outcome = measured.verify("--cleanup", "--yes")

        assert outcome.code == 0, outcome.err
        assert len(looks) >= 2 * QUIET_LOOKS - 1
        assert measured.left() == []


SIGNALS = cycle([signal.SIGINT, signal.SIGTERM])
"""In turn, because one handler serves both."""


@pytest.mark.sampled
@pytest.mark.parametrize(("number", "sent"), [*zip(range(0, WRITES, 8), SIGNALS, strict=False)])
def test_signal_ends_a_run_without_a_rest(writes: list[int], number: int, sent: signal.Signals) -> None:
    request = writes[number]
    with measured_account() as measured:
        seen = measured.sandbox.requests
        measured.sandbox.fault(
            when=lambda _: len(seen) == request + 1, before=lambda: signal.raise_signal(sent), is_prompt=True
        )

        outcome = measured.verify("--yes")

        assert outcome.code == 130, outcome.err
        assert measured.left() == []
        assert not measured.output.exists()


NAME, OTHER = genuine("0123abcd"), "backout-verify-old-shop"
NAMESPACE, DATABASE = "ab" * 16, "abababab-abab-4bab-8bab-abababababab"
REFUSED = (
    ("PUT", f"/workers/scripts/{OTHER}", None),
    ("DELETE", f"/workers/scripts/{NAME}a", None),
    ("POST", f"/workers/scripts/{NAME}/../{OTHER}/deployments", None),
    ("POST", f"/workers/scripts/{NAME}/%2e%2e/{OTHER}/deployments", None),
    ("POST", f"/workers/scripts/{NAME}%2f..%2f{OTHER}/deployments", None),
    ("DELETE", f"/pages/projects/{OTHER}", None),
    ("POST", "/pages/projects", {"name": OTHER}),
    ("POST", "/storage/kv/namespaces", {"title": OTHER}),
    ("POST", "/storage/kv/namespaces", {"name": NAME}),
    ("POST", "/d1/database", {"name": OTHER}),
    ("POST", "/d1/database", [NAME]),
    ("DELETE", f"/storage/kv/namespaces/{'cd' * 16}", None),
    ("POST", f"/d1/database/{DATABASE[:-1]}c/query", {"sql": "DROP TABLE users"}),
    ("DELETE", f"/workers/workers/{NAME}", None),
    ("POST", "/rulesets", None),
    ("GET", "/secrets_store/stores", None),
)


@pytest.mark.parametrize(("method", "path", "body"), REFUSED, ids=lambda value: str(value)[-40:])
def test_transport_refuses_everything_else(sandbox: Sandbox, method: str, path: str, body: object) -> None:
    transport = OwnWritesTransport(sandbox.api_url, ACCOUNT)
    transport.own_name(NAME)
    transport.own_resource(NamedResource(NAMESPACE, NAME))
    transport.own_resource(NamedResource(DATABASE, NAME))

    with pytest.raises(Refused):
        transport.handle_request(
            httpx.Request(method, httpx.URL(f"{sandbox.api_url}/accounts/{ACCOUNT}{path}"), json=body)
        )

    assert sandbox.requests == []


@pytest.mark.parametrize(
    "request_",
    [
        ("POST", f"/accounts/{'a' * 32}/workers/scripts/{NAME}/deployments"),
        ("GET", f"/accounts/{'a' * 32}/workers/scripts"),
        ("POST", "/zones/" + "a" * 32 + "/workers/routes"),
        ("POST", "/pages/assets/upload"),
        ("POST", "/user/tokens"),
    ],
    ids=lambda value: value[1][:40],
)
def test_transport_stays_in_its_account(sandbox: Sandbox, request_: tuple[str, str]) -> None:
    transport = OwnWritesTransport(sandbox.api_url, ACCOUNT)
    transport.own_name(NAME)
    transport.own_upload_token(Secret("jwt"))

    with pytest.raises(Refused):
        transport.handle_request(httpx.Request(request_[0], sandbox.api_url + request_[1]))

    assert sandbox.requests == []


def test_only_own_names_become_writable(sandbox: Sandbox) -> None:
    transport = OwnWritesTransport(sandbox.api_url, ACCOUNT)

    with pytest.raises(ValueError, match=OTHER):
        transport.own_name(OTHER)
    with pytest.raises(ValueError, match=OTHER):
        transport.own_resource(NamedResource(NAMESPACE, OTHER))
