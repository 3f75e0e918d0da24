"""`ops incident`: open, note, import and show records on an incident issue."""

import json
import re

import pytest
from hypothesis import strategies as st

from ops.core.clock import parse_utc
from ops.core.errors import ConfigError
from ops.core.run_record import MAX_RECORD_BYTES, RecordRow, RunRecord, embed_record, is_edited, read_record
from ops.incident.commands import MAX_RECORD_BYTES as MAX_RECORD_FILE_BYTES
from ops.incident.commands import parse_note
from tests.conftest import Incident, Outcome, Releases
from tests.support.commands import set_origin, unwrapped
from tests.support.properties import holds_for
from tests.support.shop import Shop

AT = parse_utc("2026-11-24T13:05Z")


def test_record_is_imported_once_and_malformed_one_refused(incident: Incident, releases: Releases) -> None:
    incident.world.verify_three_rounds()
    run = incident.world.rollback().result["run"]
    command = ("incident", "import", run, "--incident", str(incident.number), "--config", str(incident.world.config))
    assert [incident.ops(*command).code for _ in range(2)] == [0, 0]
    (body,) = incident.bodies
    assert "Laptop, by github-actions\\[bot\\], imported at" in body
    with (incident.world.folder / ".ops" / "runs" / run / "timeline.jsonl").open("a") as file:
        file.write('nonsense\n{"schema": 1}\n')
    refused = incident.ops(*command)
    assert refused.code == 2
    assert "line 14: not an event" in refused.err
    assert "line 15: not an event" in refused.err


def test_record_and_note_reach_only_an_incident_of_theirs(shop: Shop) -> None:
    github = shop.world.sandbox.github
    author = github.add_user("mai")
    own, other = (github.open_issue("cart answers 500", labels=["incident"], author=author) for _ in range(2))
    plain = github.open_issue("a question", labels=[], author=author)
    assert shop.ops("rollback-worker", "--incident", str(own), "--yes", **github.environ()).code == 0
    (folder,) = (shop.folder / ".ops" / "runs").iterdir()

    def import_into(number: int) -> Outcome:
        return shop.ops("incident", "import", str(folder), "--incident", str(number), **github.environ())

    bodies = [comment.body for comment in github.issue(own).comments]
    refused = {number: import_into(number) for number in (other, plain)}
    events = (folder / "timeline.jsonl").read_text().splitlines(keepends=True)
    (folder / "timeline.jsonl").write_text("".join(events[:4]))
    cut = import_into(own)
    noted = shop.ops("incident", "note", str(plain), "called the provider", **github.environ())
    reported = shop.ops("incident", "report", str(plain), **github.environ())

    assert [each.code for each in (*refused.values(), cut, noted, reported)] == [2, 2, 2, 2, 2]
    assert f"#{own}, not #{other}" in refused[other].err
    assert f"`ops incident import {folder} --incident {own}`" in refused[other].err
    assert f"#{plain} is not an incident" in refused[plain].err
    assert f"#{plain} is not an incident" in noted.err
    assert f"#{plain} is not an incident: it has no label `incident`" in reported.err
    assert f"`gh issue edit {plain} --add-label incident` makes it one" in reported.err
    assert len(github.issues) == 3
    assert "this record only 4" in cut.err
    assert [github.issue(number).comments for number in (other, plain)] == [[], []]
    assert [comment.body for comment in github.issue(own).comments] == bodies


def test_record_of_a_drill_is_shown_as_one_and_reaches_no_real_incident(incident: Incident, releases: Releases) -> None:
    """Both write to .ops/runs beside the same ops.yml, and a person looks there in an emergency."""
    config = ("--config", str(incident.world.config))
    environ = {**incident.github.environ(), "GITHUB_API_URL": "https://api.github.invalid"}
    outcome = incident.world.rollback("--incident", str(incident.number), **environ)
    assert "warning" not in [event["kind"] for event in outcome.events]
    run = outcome.result["run"]
    real = dict.fromkeys((*incident.world.sandbox.environ(), "GITHUB_API_URL"))
    command = ("incident", "import", run, "--incident", str(incident.number), *config)

    here, elsewhere = (incident.ops("last", *config, GITHUB_TOKEN=None, **given).out for given in ({}, real))
    refused = incident.ops(*command, **real)

    drill = "\n  A drill: it ran in a sandbox, and changed nothing at Cloudflare\n"
    assert (drill in here, drill in elsewhere) == (True, True)
    assert ("incident import" in here, "incident import" in elsewhere) == (True, False)
    assert (refused.code, incident.bodies) == (2, [])
    assert f"run {run} " in refused.err
    assert "`ops last --count 10`" in refused.err
    assert incident.ops(*command).code == 0
    assert "incident import" not in incident.ops("last", *config, GITHUB_TOKEN=None).out


@pytest.mark.slow
def test_timeline_merges_trusted_notes_and_runs(incident: Incident, releases: Releases) -> None:
    incident.rollback()
    number = str(incident.number)
    assert (
        incident.ops(
            "incident", "note", number, "2026-11-24 13:05 called @dana", "--config", str(incident.world.config)
        ).code
        == 0
    )
    forged = embed_record("x", RunRecord("forged", source="note", rows=(RecordRow(AT, "note", "forged"),)))
    incident.github.comment(incident.number, forged, "zoe")
    incident.github.comment(incident.number, forged.replace("x", "y", 1).replace("forged", "mine"), "alice")
    shown = incident.show()
    assert "2026-11-24 13:05:00Z  note       called @dana [note, by github-actions[bot]]" in shown.out
    assert "mine [note, by alice, edited]" in shown.out
    assert "recovered" in shown.out
    assert "forged" not in shown.out


@pytest.mark.slow
def test_events_of_one_second_keep_their_order(incident: Incident) -> None:
    kinds = ["requested", "planned", "confirmed", "written", "ended"]
    older = RunRecord("run-1", part=2, rows=tuple(RecordRow(AT, kind, f"{kind} first") for kind in kinds[:2]))
    newer = RunRecord("run-1", rows=tuple(RecordRow(AT, kind, f"{kind} first") for kind in kinds[2:]))
    other = RunRecord("run-2", rows=tuple(RecordRow(AT, kind, f"{kind} second") for kind in kinds))
    for block in (newer, other, older):
        incident.github.comment(incident.number, embed_record("x", block), "alice")

    shown = incident.timeline

    assert [line.split()[2] for line in shown] == [*kinds, *kinds]
    assert ["second" in line for line in shown] == [False] * 5 + [True] * 5


@pytest.mark.parametrize(
    ("now", "said", "stored"),
    [
        ("15:41", "13:05 x", "2026-11-25T13:05Z"),
        ("15:41", "15:42 x", "2026-11-25T15:42Z"),
        ("00:10", "23:55 x", "2026-11-24T23:55Z"),
        ("15:41", "2026-11-24 16:05 x", "2026-11-24T16:05Z"),
        ("15:41", "x", "2026-11-25T15:41Z"),
        ("15:41", "16:05 x", None),
        ("15:41", "2026-11-25 16:05 x", None),
        ("15:41", "2027-11-25 13:05 x", None),
    ],
)
def test_note_time_is_completed_or_refused(now: str, said: str, stored: str | None) -> None:
    at = parse_utc(f"2026-11-25T{now}Z")
    if stored is not None:
        assert parse_note(said, at) == (parse_utc(stored), "x")
        return
    with pytest.raises(ConfigError) as refused:
        parse_note(said, at)
    assert re.fullmatch(r"20\d\d-11-25 \d\d:\d\d UTC .* 2026-11-25 15:41 UTC", refused.value.message)


@pytest.mark.slow
def test_note_prints_stored_text(incident: Incident) -> None:
    done = incident.ops(
        "incident",
        "note",
        str(incident.number),
        "2026-11-24 13:05  called the  provider",
        "--config",
        str(incident.world.config),
    )
    assert done.code == 0, done.err

    assert done.out.splitlines()[0] == "2026-11-24 13:05:00 UTC  called the  provider"


@pytest.mark.parametrize("said", ["1", "#1", "https://shop.example/acme/operations/issues/1#issuecomment-2"])
def test_incident_accepts_number_or_url(incident: Incident, said: str) -> None:
    server = {"GITHUB_SERVER_URL": "https://shop.example"}

    assert (
        incident.ops(
            "incident", "note", said, "2026-11-24 13:05 called", "--config", str(incident.world.config), **server
        ).code
        == 0
    )
    assert len(incident.bodies) == 1


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("https://github.com/evil/operations/issues/1", "the issue is in github.com/evil/operations"),
        ("https://shop.example/acme/operations/pull/1", "is no incident"),
        ("#0", "is no incident"),
        ("one", "is no incident"),
    ],
)
def test_issue_of_another_repository_is_refused(incident: Incident, said: str, message: str) -> None:
    for command in (("incident", "show", said), ("rollback-worker", "--incident", said)):
        refused = incident.ops(*command, GITHUB_SERVER_URL="https://shop.example")
        assert (refused.code, message in refused.err) == (2, True), refused.err


def test_import_completes_comment_of_interrupted_job(incident: Incident, releases: Releases) -> None:
    """A person on a laptop imports it, with another login than the bot's."""
    hub = incident.github
    rule = hub.fault(method="PATCH", path="/repos/*/*/issues/comments/*", times=None, status=502)
    run = incident.rollback().result["run"]
    rule.remove()
    assert "⏳ Received: " in incident.bodies[0]
    token = hub.add_token("ghp_alice-0123456789", "alice", ["repo"])

    done = incident.ops(
        "incident", "import", run, "--incident", "1", "--config", str(incident.world.config), GITHUB_TOKEN=token
    )

    assert done.code == 0, done.err
    (body,) = incident.bodies
    assert "⏳ Received" not in body


@pytest.mark.parametrize("text", ["", "13:05", "13:5 called", "25:00 called", "2026-13-01 12:00 called"])
def test_note_with_a_wrong_time_is_refused(text: str, incident: Incident) -> None:
    refused = incident.ops("incident", "note", str(incident.number), text, "--config", str(incident.world.config))
    assert (refused.code, incident.bodies) == (2, [])
    assert '"13:05 text"' in refused.err


@pytest.mark.slow
def test_note_masks_every_secret_of_ops_yml(incident: Incident) -> None:
    config = incident.world.config
    names = {"IFLOW_API_KEY": "the-key-of-the-provider", "NEW_IFLOW_API_KEY": "another-account"}
    note = ("incident", "note", str(incident.number), f"tried {' and '.join(names.values())}", "--config", str(config))

    done = incident.ops(*note, **names)

    assert done.code == 0, done.err
    assert done.out.splitlines()[0].endswith("tried *** and ***")
    assert not any(value in incident.bodies[0] for value in names.values())


def test_note_is_stored_although_ops_yml_is_broken(incident: Incident) -> None:
    incident.world.edit_config("environments:", "enviroments:")

    done = incident.ops("incident", "note", str(incident.number), "called", "--config", str(incident.world.config))

    assert done.code == 0
    assert "so only tokens of Cloudflare and GitHub are masked" in done.err
    assert "called" in incident.bodies[0]


def test_note_without_a_time_happened_now(incident: Incident) -> None:
    incident.world.sandbox.clock.set(parse_utc("2026-11-24T13:05:00Z"))
    done = incident.ops(
        "incident", "note", str(incident.number), "called the provider", "--config", str(incident.world.config)
    )
    assert done.code == 0, done.err
    assert done.out.startswith("2026-11-24 13:05:00 UTC  called the provider\n")
    assert "called the provider [note" in incident.show().out


def test_title_may_be_an_argument(incident: Incident) -> None:
    options = ["--service", "api", "--severity", "sev2", "--config", str(incident.world.config)]
    both = incident.ops("incident", "open", "Orders fail", "--title", "Other", *options)
    assert (both.code, "--title" in both.err) == (2, True)
    assert incident.ops("incident", "open", "Orders fail", *options).code == 0
    assert "Orders fail" in incident.github.issue(2).title


def test_laptop_finds_repository_and_token_as_git_and_gh_keep_them(incident: Incident, releases: Releases) -> None:
    given = incident.github.environ()
    kept = {**given, "GITHUB_TOKEN": None, "GITHUB_REPOSITORY": None, "GH_TOKEN": given["GITHUB_TOKEN"]}
    config = ("--config", str(incident.world.config))
    where = ("--service", "api", "--environment", "production", *config)
    line = f"using {given['GITHUB_REPOSITORY']} on GitHub (the origin of this checkout) with GH_TOKEN\n"
    assert incident.ops("incident", "open", "--service", "api", *config, **kept).code == 2  # no checkout yet
    set_origin(incident.world.folder, f"git@github.com:{given['GITHUB_REPOSITORY']}.git")

    done = incident.ops("rollback-worker", *where, "--incident", str(incident.number), "--yes", **kept)
    listed = incident.ops("last", *config, **kept)

    assert (done.code, listed.code) == (0, 0)
    assert line in done.err
    assert line in listed.err
    assert "healthy after" in incident.bodies[0]


@pytest.mark.slow
def test_repository_is_not_looked_for_in_a_job_or_in_a_drill(incident: Incident, releases: Releases) -> None:
    given = incident.github.environ()
    set_origin(incident.world.folder, f"git@github.com:{given['GITHUB_REPOSITORY']}.git")
    kept = {**given, "GITHUB_REPOSITORY": None, "GITHUB_TOKEN": given["GITHUB_TOKEN"]}

    in_job = incident.rollback(**kept, GITHUB_ACTIONS="true")
    in_drill = incident.world.rollback(**{**kept, "GITHUB_API_URL": None})

    assert "using" not in in_job.err + in_drill.err
    assert incident.bodies == []
    assert len(incident.github.issues) == 1


def test_incident_is_opened_with_laptop_command(incident: Incident) -> None:
    config = str(incident.world.config)
    options = ["--severity", "sev1", "--title", "500", "--config", config]
    assert incident.ops("incident", "open", "--service", "api", *options).out.startswith("#2 http")
    opened = incident.github.issue(2)
    (menu,) = opened.comments
    assert "ops rollback-worker --service api --environment production --incident 2" in unwrapped(menu.body)
    assert (
        "- A new version of a Worker causes errors, is slow, or breaks the API:\n  - **`recover:rollback-api`** or ["
        in menu.body
    )
    assert "[rollback-worker: environment production](" in menu.body
    assert opened.body == "### Service\n\napi\n\n### Severity\n\nsev1"
    assert {label.name for label in opened.labels} == {"incident", "sev1"}
    assert incident.ops("incident", "open", "--service", "apo", *options).code == 2


@pytest.mark.parametrize("host", ["", "github.shopdesk.example"])
def test_incident_is_opened_on_enterprise_server(incident: Incident, host: str) -> None:
    incident.github.switches.enterprise_server = True
    incident.github.switches.host_in_answers = host
    options = ["--severity", "sev1", "--title", "500", "--config", str(incident.world.config)]

    done = incident.ops("incident", "open", "--service", "api", *options)

    assert (done.code, done.err) == (0, "")
    assert f"http://{host}" in done.out
    assert "--incident 2" in unwrapped(incident.github.issue(2).comments[0].body)
    assert (
        incident.ops("incident", "note", "2", "2026-11-24 13:05 called", "--config", str(incident.world.config)).code
        == 0
    )
    assert incident.ops("incident", "report", "2", "--config", str(incident.world.config)).code == 0


@pytest.mark.slow
def test_laptop_command_has_all_parameters_of_its_label(incident: Incident) -> None:
    incident.world.edit_config(
        "      service: api\n  recover:rollback-frontend:",
        "      service: api\n      accept_changed_secrets: [KEY, DB_URL]\n  recover:rollback-frontend:",
    )
    options = ["--severity", "sev1", "--title", "500", "--config", str(incident.world.config)]
    incident.ops("incident", "open", "--service", "api", *options, OPS_PROGRAM="./run ops")
    command = (
        "./run ops rollback-worker --service api --accept-changed-secrets KEY --accept-changed-secrets DB_URL"
        f" --environment production --incident 2 --config {incident.world.config}\n"
    )
    assert command in unwrapped(incident.github.issue(2).comments[0].body)


def test_label_sync_is_idempotent(incident: Incident) -> None:
    config = ("--config", str(incident.world.config))
    first = incident.ops("labels", "sync", *config)
    assert "created sev1" in first.out
    assert "changed incident" in first.out
    assert "created recover:rollback-api" in first.out
    for name in ("recover:api-off", "recover:rotate-secrets"):
        incident.github.label(incident.number, name, "alice")
    *_, state, names = incident.github.issue(incident.number).labels
    assert state.description == "Runs maintenance in production: service=api state=on"
    assert names.description == (
        "Runs rotate-secrets in production: service=api only=IFLOW_API_KEY,GROQ_API_KEY,CEREBRAS_API_KEY"
    )
    assert (incident.ops("labels", "sync", *config).out, first.code) == ("", 0)


@pytest.mark.slow
@holds_for(25, 500, texts=st.lists(st.text(max_size=300), min_size=1, max_size=30))
def test_record_survives_embedding(texts: list[str]) -> None:
    body = embed_record("shown", RunRecord("run-1", rows=tuple(RecordRow(AT, "note", text) for text in texts)))
    hidden = body.split("<!-- ", 1)[1].removesuffix(" -->\n")
    assert not set("<>&@\u2028\u2029") & set(hidden)
    assert "--" not in hidden
    assert len(hidden) <= MAX_RECORD_BYTES
    block = read_record(body)
    assert block
    assert all(row.text in [text[:160] for text in texts] for row in block.rows)
    assert not is_edited(body)


@pytest.mark.slow
@holds_for(30, 1000, body=st.one_of(st.text(), st.text().map(lambda text: f"<!-- backout:v1 {{{text}}} -->")))
def test_hostile_record_never_raises(body: str) -> None:
    read_record(body)
    is_edited(body)


@pytest.mark.parametrize(
    "data", ["[" * 900, '"v":1,"run":7', '"v":1,"run":"a","part":NaN', '"v":2', '"v":' + "9" * 900]
)
def test_malformed_text_is_no_record(data: str) -> None:
    assert read_record(f"<!-- backout:v1 {{{data}}} -->") is None


def test_file_that_is_no_record_is_refused(incident: Incident) -> None:
    folder = incident.world.folder
    large, unnamed = folder / "large.jsonl", folder / "no run" / "unnamed.jsonl"
    unnamed.parent.mkdir()
    with large.open("wb") as file:
        file.truncate(MAX_RECORD_FILE_BYTES + 1)
    event = {"schema": 1, "number": 1, "at": "2026-11-24T13:05:00Z", "seconds": 0.0, "kind": "requested", "text": "x"}
    unnamed.write_text(json.dumps({**event, "data": {}}) + "\n")
    where = ("--incident", str(incident.number), "--config", str(incident.world.config))

    for path in (folder / "gone", large, unnamed):
        refused = incident.ops("incident", "import", str(path), *where)

        assert refused.code == 2
        assert path.name in refused.err
    assert incident.bodies == []
