"""A token of GitHub goes only to the API of its own server.

The expected APIs are those of GitHub's documentation: api.github.com (docs.github.com/rest, "Getting started"),
api.SUBDOMAIN.ghe.com (docs.github.com/enterprise-cloud@latest/admin/data-residency, "Network details for GHE.com") and
HOST/api/v3 (docs.github.com/enterprise-server@latest/rest, "Getting started").
"""

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import strategies as st

from ops.app.configuration import add_server, read_config
from ops.core.clock import SystemClock
from ops.core.errors import ConfigError
from ops.core.redaction import Redactor
from ops.core.run_record import PreviousRuns, RecordRules
from ops.core.timeline import EventKind, Timeline
from ops.github.client import connect
from ops.github.secrets import EnvironmentSecrets
from ops.publish import Publisher
from ops.publish.menu import RecoveryMenu
from tests.conftest import REFERENCE, World
from tests.support.commands import set_origin
from tests.support.properties import holds_for

CORP, RESIDENT = "git.parcel.example", "parcel.ghe.com"
ORIGINS = {
    "": "",
    "/srv/parcel/operations.git": "",
    "https://github.com/parcel/operations.git": "github.com",
    "https://dana:secret@GitHub.com/parcel/operations": "github.com",
    "https://www.github.com/parcel/operations": "github.com",
    "git@github.com:parcel/operations.git": "github.com",
    "org-7@github.com:parcel/operations.git": "github.com",
    "ssh://git@github.com:22/parcel/operations.git": "github.com",
    "ssh://git@ssh.github.com:443/parcel/operations.git": "github.com",
    "https://parcel.ghe.com/parcel/operations": RESIDENT,
    "parcel@parcel.ghe.com:parcel/operations.git": RESIDENT,
    f"https://{CORP}/parcel/operations.git": CORP,
    f"https://{CORP}:8443/parcel/operations.git": f"{CORP}:8443",
    f"git@{CORP}:parcel/operations.git": CORP,
    f"ssh://git@{CORP}:22/parcel/operations.git": CORP,
    "https://gitlab.com/parcel/team/operations.git": "gitlab.com",
    "git@github.com.evil.example:parcel/operations.git": "github.com.evil.example",
    "https://github.com@evil.example/parcel/operations": "evil.example",
    "https://ghe.com.evil.example/parcel/operations": "ghe.com.evil.example",
}
"""Address of the remote → host of its server; "" is a folder or no remote."""
DOCUMENTED = {"github.com": "api.github.com", "": "api.github.com", RESIDENT: f"api.{RESIDENT}"}
"""Server → host of its API, where it is another one; "" is the default."""
SERVERS = ["", "https://github.com", "https://GITHUB.com/", "https://www.github.com", f"https://{RESIDENT}"]
SERVERS += [f"https://{CORP}", f"https://{CORP}:8443", "https://api.github.com.evil.example"]
MALFORMED = ["github.com", "https://", "https://[bad", "https://a:b@github.com", r"https://github.com\@evil.example"]
APIS = ["", "https://api.github.com", f"https://api.{RESIDENT}", f"https://{CORP}/api/v3", f"https://{CORP}"]
APIS += [f"https://{CORP}:8443/api/v3", "https://api.evil.example", "https://a:b@api.github.com", "http://127.0.0.1:9/"]
APIS += ["https://127.0.0.1.evil.example", "https://api.github.com.evil.example", f"http://{CORP}/api/v3"]
APIS += ["https://[bad"]


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return address → a checkout whose origin it is. Each has other remotes too, which do not count."""
    found = {}
    for number, address in enumerate(ORIGINS):
        folder = found[address] = tmp_path_factory.mktemp(f"checkout{number}")
        set_origin(folder, address or "/srv/nothing")
        text = (folder / ".git" / "config").read_text()
        if not address:
            text = text.replace('"origin"', '"backup"')
        for name, host in (("upstream", "github.com"), ("mirror", CORP)):
            text += f'[remote "{name}"]\n\turl = https://{host}/other/repository\n'
        (folder / ".git" / "config").write_text(text)
    return found


def host_of(url: str) -> str:
    return url.partition("://")[2].strip("/").lower().removeprefix("www.")


def documented_api(server: str) -> str:
    return DOCUMENTED.get(server, server)


@holds_for(
    40,
    600,
    origin=st.sampled_from(list(ORIGINS)),
    server=st.sampled_from(SERVERS + MALFORMED),
    api=st.sampled_from(APIS),
    is_job=st.booleans(),
)
def test_token_is_only_for_the_api_of_its_server(
    checkouts: dict[str, Path], origin: str, server: str, api: str, *, is_job: bool
) -> None:
    """The server is that of GITHUB_SERVER_URL, else that of origin; in a job GitHub always names it."""
    environ = {"PATH": os.environ["PATH"], "GITHUB_TOKEN": "secret", "GITHUB_REPOSITORY": "parcel/operations"}
    environ |= {"GITHUB_SERVER_URL": server, "GITHUB_API_URL": api, "GITHUB_ACTIONS": "true" if is_job else ""}
    is_known = server or is_job or ORIGINS[origin] in DOCUMENTED
    allowed = documented_api(host_of(server) or ("" if is_job else ORIGINS[origin]))
    is_right = is_known and server not in MALFORMED and api in {"", f"https://{allowed}"}

    try:
        repository = connect(add_server(environ, checkouts[origin], Redactor()), Redactor())
    except ConfigError:
        assert not is_right
        return

    scheme, _, rest = repository.requester.base_url.partition("://")
    is_sandbox = api == "http://127.0.0.1:9/"
    assert (scheme, rest.partition("/")[0]) == (("http", "127.0.0.1:9") if is_sandbox else ("https", allowed))
    assert is_sandbox or server not in MALFORMED


@dataclass
class RecordingProxy:
    """A proxy that writes down each host that somebody wants to reach, and connects nobody."""

    hosts: list[str] = field(default_factory=list)
    url: str = ""

    def serve(self, listening: socket.socket) -> None:
        with suppress(OSError):  # the test is over
            while True:
                connection, _ = listening.accept()
                with connection:
                    self.hosts.append(connection.recv(4096).split()[1].decode())
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")


@pytest.fixture
def proxy() -> Iterator[RecordingProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        recording = RecordingProxy(url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread = threading.Thread(target=recording.serve, args=(listening,), daemon=True)
        thread.start()
        yield recording
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(30)


LAPTOP: dict[str, str | None] = {
    "GITHUB_TOKEN": "ghp_of-parcel",
    "GITHUB_REPOSITORY": "parcel/operations",
    "OPS_CLOCK_URL": None,
}
LAPTOP |= {"CLOUDFLARE_API_BASE_URL": None, "OPS_EDGE_URL": None}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("origin", "given", "reached"),
    [
        (f"git@{CORP}:parcel/operations.git", {}, None),
        (f"git@{CORP}:parcel/operations.git", {"GITHUB_SERVER_URL": f"https://{CORP}"}, CORP),
        ("git@github.com:parcel/operations.git", {"GITHUB_SERVER_URL": f"https://{CORP}"}, CORP),
        ("git@github.com:parcel/operations.git", {}, "api.github.com"),
        (f"git@{CORP}:parcel/operations.git", {"GITHUB_REPOSITORY": None}, None),
        (f"parcel@{RESIDENT}:parcel/operations.git", {"GITHUB_REPOSITORY": None}, f"api.{RESIDENT}"),
        ("", {}, "api.github.com"),
    ],
)
def test_commands_reach_no_other_server(
    world: World,
    checkouts: dict[str, Path],
    proxy: RecordingProxy,
    monkeypatch: pytest.MonkeyPatch,
    origin: str,
    given: dict[str, str | None],
    reached: str | None,
) -> None:
    folder = checkouts[origin]
    (folder / "ops.yml").write_text((REFERENCE / "ops.yml").read_text())
    monkeypatch.chdir(folder)
    through = {"HTTPS_PROXY": proxy.url, "NO_PROXY": "", "https_proxy": None, "no_proxy": None}

    done = world.ops("incident", "list", **{**LAPTOP, **through, **given})

    assert set(proxy.hosts) == ({f"{reached}:443"} if reached else set())
    assert ("#not_loopback" in done.err) == (reached is None), done.err
    if reached is None:
        assert done.code == 2
        assert f"export GITHUB_SERVER_URL=https://{CORP} " in done.err


def test_rotation_copies_by_hand_where_its_token_is_for_another_server() -> None:
    environ = {"GH_SECRETS_TOKEN": "secret", "GITHUB_SERVER_URL": f"https://{CORP}"}

    mismatch = EnvironmentSecrets.of(environ | {"GITHUB_API_URL": "https://api.github.com"}, Redactor(), SystemClock())

    assert not mismatch.has_token
    assert "api.github.com" in mismatch.why_missing
    assert EnvironmentSecrets.of(environ, Redactor(), SystemClock()).has_token


def test_recovery_goes_on_where_its_comment_cannot_be_sent(world: World) -> None:
    """Of one run the publisher alone: a sandbox of Cloudflare never meets the real GitHub."""
    environ = {**LAPTOP, "GITHUB_SERVER_URL": f"https://{CORP}", "GITHUB_API_URL": "https://api.github.com"}
    config, clock = read_config(world.config)[0], SystemClock()
    publisher = Publisher(clean(environ), config, Redactor(), clock, run="20261129T030000-0000", incident=42)
    timeline = Timeline(clock, Redactor(), publisher.sinks(is_routine=False, is_dry=False))
    with ExitStack() as ending:
        publisher.begin(timeline, ending)
        runs = publisher.read_previous_runs(timeline, 5.0, RecordRules())()
        timeline.record(EventKind.WRITING, "deployment")
        links = publisher.end(timeline, no_menu, {})

    assert (runs, list(links)) == (PreviousRuns(), ["incident"])
    assert not publisher.issue.is_answered
    warnings = [each.text for each in timeline.events if each.kind == EventKind.WARNING]
    assert len(set(warnings)) == 2
    for warning in warnings:
        assert re.search(rf"\(.* api\.github\.com: .* {re.escape(CORP)} \(GITHUB_SERVER_URL\b", warning)


def clean(environ: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if value is not None}


def no_menu(_number: str, _page: str) -> RecoveryMenu:
    raise AssertionError("no incident is opened")
