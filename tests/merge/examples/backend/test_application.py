"""FortuneT's API: sessions, interpretations, saved charts, and the reset of its objects."""

import base64
import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from tests.merge.examples.backend.conftest import BACKEND, Example

BIRTH = {"date": "2000-01-01", "time": "12:00"}
NO_AI = {"error": "AI interpretations temporarily unavailable"}
ADMIN = {"authorization": "Bearer opens objects"}
PROVIDERS = ["iflow", "groq", "cerebras"]


def sign_in(example: Example, email: str = "mia@fortunet.example") -> dict[str, str]:
    """Return the authorization header of a new session."""
    answer = example.http.post("/api/session", json={"email": email})
    assert (answer.status_code, answer.json()["name"]) == (200, email.partition("@")[0])
    return {"authorization": f"Bearer {answer.json()['token']}"}


def interpret(example: Example, **options: Any) -> httpx.Response:
    return example.http.post("/api/charts/interpret", json=BIRTH, **options)


def provider_calls(example: Example, **behaviours: str) -> Any:
    """Return the providers called since the last time, and set the behavior of future calls."""
    return example.arrange("outside", behaviours)


def ai_state(example: Example) -> Any:
    example.advance(seconds=1)
    return example.runtime_state()["ai"]


def ai_mutex(example: Example) -> Any:
    return example.http.get("/__ops/objects/ai-mutex", headers=ADMIN).json()


def test_calculations_are_limited_by_address(example: Example) -> None:
    example.limits(calc={"limit": 2, "period": 60, "key": "ip"}, ai={"limit": 9, "period": 60, "key": "user"})
    answers = [example.http.get("/api/charts/calculate", params=BIRTH) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit"] == '"calc";r=1;t=60'
    elsewhere = {"cf-connecting-ip": "192.0.2.9"}
    refused = example.http.get("/api/charts/calculate", headers=elsewhere)
    assert (refused.status_code, refused.headers["ratelimit"]) == (400, '"calc";r=1;t=60')


def test_application_works_without_ops_bindings(example: Example) -> None:
    without = {"without": "OPS_RUNTIME,OPS_LIMITS,SESSIONS,AI_MUTEX,DB,CF_VERSION_METADATA,ADMIN_TOKEN"}
    assert example.http.get("/health", headers=without).json() == {"status": "ok"}
    assert example.http.post("/api/charts/calculate", json=BIRTH, headers=without).status_code == 200
    shown = example.http.get("/__ops/runtime", headers=without).json()
    assert shown["worker"] is None


def test_health_paths_check_secrets_in_use(example: Example) -> None:
    provider_calls(example, groq="refuses", cerebras="down")
    paths = ["/health/auth", "/health/ai/iflow", "/health/ai/groq", "/health/ai/cerebras", "/health/ai/other"]
    assert [example.http.get(path).status_code for path in paths] == [200, 200, 503, 503, 503]
    without = {"without": "JWT_SECRET,IFLOW_API_KEY"}
    assert [example.http.get(path, headers=without).status_code for path in paths[:2]] == [503, 503]
    assert provider_calls(example) == PROVIDERS


# Sessions.


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def sign_token(header: Any, claims: Any, secret: str = "signs sessions", digest: str = "sha256") -> str:
    text = f"{_part(header)}.{_part(claims)}"
    signature = hmac.digest(secret.encode(), text.encode(), getattr(hashlib, digest))
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _parse(headers: dict[str, str]) -> tuple[Any, Any, str]:
    header, claims, signature = headers["authorization"].removeprefix("Bearer ").split(".")
    return json.loads(base64.b64decode(header + "==")), json.loads(base64.b64decode(claims + "==")), signature


@pytest.mark.parametrize("state", ["on", "off"])
def test_only_own_tokens_are_accepted_in_each_switch_state(example: Example, state: str) -> None:
    mine = sign_in(example)
    example.switch("session-do", state)
    header, claims, signature = _parse(mine)
    tokens = {
        "as it is": mine["authorization"].removeprefix("Bearer "),
        "signed by us again": sign_token(header, claims),
        "signed by others": sign_token(header, claims, "other secret"),
        "not signed": f"{_part({**header, 'alg': 'none'})}.{_part(claims)}.",
        "not signed, with a signature": f"{_part({**header, 'alg': 'none'})}.{_part(claims)}.{signature}",
        "alg none, signed": sign_token({**header, "alg": "none"}, claims),
        "another algorithm": sign_token({**header, "alg": "HS512"}, claims, digest="sha512"),
        "another user": f"{_part(header)}.{_part({**claims, 'sub': 'eve@fortunet.example'})}.{signature}",
        "for another audience": sign_token(header, {**claims, "aud": "others"}),
        "for no audience": sign_token(header, {name: value for name, value in claims.items() if name != "aud"}),
        "expired": sign_token(header, {**claims, "exp": claims["iat"]}),
        "never to expire": sign_token(header, {name: value for name, value in claims.items() if name != "exp"}),
        "of no session": sign_token(header, {name: value for name, value in claims.items() if name != "sid"}),
        "with a tail": f"{sign_token(header, claims)}.x",
        "no token": "x",
    }
    answers = {
        name: example.http.get("/api/me", headers={"authorization": f"Bearer {token}"}).status_code
        for name, token in tokens.items()
    }
    assert answers == {**dict.fromkeys(tokens, 401), "as it is": 200, "signed by us again": 200}
    assert example.http.get("/api/me").status_code == 401
    assert example.http.get("/api/me", headers={**mine, "without": "JWT_SECRET"}).status_code == 401
    assert interpret(example, headers={"authorization": "Bearer x"}).status_code == 401


def test_session_ends_by_sign_out_or_expiry(example: Example) -> None:
    mine, other = sign_in(example), sign_in(example)
    assert example.http.get("/api/me", headers=mine).json() == {"email": "mia@fortunet.example"}
    assert example.http.delete("/api/session", headers=mine).json() == {"revoked": True}
    statuses = [example.http.get("/api/me", headers=each).status_code for each in (mine, other)]
    assert statuses == [401, 200]
    assert example.http.delete("/api/session", headers=mine).status_code == 401
    example.advance(hours=12)
    assert example.http.get("/api/me", headers=other).status_code == 401


def test_expired_session_data_is_deleted(example: Example) -> None:
    mine = sign_in(example)
    sid = _parse(mine)[1]["sid"]
    assert example.arrange("session", sid) == 1
    assert example.http.get("/api/me", headers=mine).status_code == 200
    example.advance(hours=12)
    assert example.arrange("session", sid) == 0


def test_sign_in_requires_valid_email_and_secret(example: Example) -> None:
    bad: list[Any] = [None, [], "text", {}, {"email": "mia"}, {"email": ["mia@fortunet.example"]}, {"email": "a b@c"}]
    assert [example.http.post("/api/session", json=body).status_code for body in bad] == [401] * 7
    mia = {"email": "mia@fortunet.example"}
    unset = example.http.post("/api/session", json=mia, headers={"without": "JWT_SECRET"})
    assert (unset.status_code, unset.json()) == (503, {"error": "nobody can sign in: JWT_SECRET is not set"})


def test_session_switch_off_allows_stateless_tokens_briefly(example: Example) -> None:
    mine, gone = sign_in(example), sign_in(example)
    example.http.delete("/api/session", headers=gone)
    broken = {"without": "SESSIONS"}
    for method, path in [("GET", "/api/me"), ("DELETE", "/api/session")]:
        assert example.http.request(method, path, headers=mine | broken).status_code == 503
    assert example.http.post("/api/session", json={"email": "tom@fortunet.example"}, headers=broken).status_code == 503

    example.switch("session-do", "off")
    assert [example.http.get("/api/me", headers=each | broken).status_code for each in (mine, gone)] == [200, 200]
    assert example.http.delete("/api/session", headers=mine | broken).json()["revoked"] is False
    example.advance(minutes=15)
    assert example.http.get("/api/me", headers=mine | broken).status_code == 401
    answer = example.http.post("/api/session", json={"email": "tom@fortunet.example"}, headers=broken).json()
    assert answer["expires"] <= example.moment(minutes=15)
    tom = {"authorization": f"Bearer {answer['token']}"}

    example.switch("session-do", "on")
    assert [example.http.get("/api/me", headers=each).status_code for each in (mine, gone, tom)] == [200, 401, 200]
    assert example.http.delete("/api/session", headers=tom).json() == {"revoked": True}
    assert example.http.get("/api/me", headers=tom).status_code == 401


def sessions_health(example: Example, **headers: str) -> tuple[int, str]:
    answer = example.http.get("/health/sessions", headers=headers)
    return answer.status_code, answer.json()["status"]


def test_sessions_health_follows_object_unless_switched_off(example: Example) -> None:
    assert sessions_health(example) == (200, "ok")
    assert sessions_health(example, without="SESSIONS") == (503, "failed")
    example.switch("session-do", "off")
    assert sessions_health(example, without="SESSIONS") == (200, "stateless")


# Charts.


def test_charts_are_saved_for_signed_in_users_after_migration(example: Example) -> None:
    mia, tom = sign_in(example), sign_in(example, "tom@fortunet.example")
    example.arrange("sql", ["DROP TABLE IF EXISTS charts"])
    assert example.http.post("/api/charts/calculate", json=BIRTH, headers=mia).json()["saved"] is False
    none = example.http.get("/api/charts", headers=mia)
    assert (none.status_code, none.json()) == (503, {"error": "saved charts are unavailable at the moment"})
    assert example.http.get("/api/charts").status_code == 401

    run_file(example, "migrations/0001_charts.sql")
    made = example.http.post("/api/charts/calculate", json=BIRTH, headers=mia).json()
    assert made.pop("saved") is True
    assert example.http.post("/api/charts/calculate", json=BIRTH).json() == made
    signed_out = example.http.post("/api/charts/calculate", json=BIRTH, headers={"authorization": "Bearer x"})
    assert signed_out.json() == {**made, "saved": False}
    (kept,) = example.http.get("/api/charts", headers=mia).json()["charts"]
    assert kept == {**made, "made_at": kept["made_at"]}
    assert example.http.get("/api/charts", headers=tom).json() == {"charts": []}


def run_file(example: Example, path: str) -> None:
    """Run the statements of a file in D1."""
    example.arrange("sql", [text for text in (BACKEND / path).read_text().split(";") if text.strip()])


def test_bad_migration_breaks_saved_charts_until_down_file_reverts_it(example: Example) -> None:
    mia = sign_in(example)
    health = partial(example.http.get, "/health/charts")
    example.arrange("sql", ["DROP TABLE IF EXISTS charts"])
    assert health().status_code == 503
    run_file(example, "migrations/0001_charts.sql")
    assert health().status_code == 200
    example.http.post("/api/charts/calculate", json=BIRTH, headers=mia)
    (kept,) = example.http.get("/api/charts", headers=mia).json()["charts"]

    run_file(example, "migrations/0002_compact_charts.sql")
    assert example.http.post("/api/charts/calculate", json=BIRTH, headers=mia).json()["saved"] is True
    assert (health().status_code, example.http.get("/api/charts", headers=mia).status_code) == (503, 503)

    run_file(example, "down/0002_compact_charts.sql")
    assert health().status_code == 200
    assert [each["chart"] for each in example.http.get("/api/charts", headers=mia).json()["charts"]] == [
        kept["chart"]
    ] * 2


# Interpretations.


def test_first_working_provider_interprets(example: Example) -> None:
    answer = interpret(example, headers=sign_in(example))
    assert answer.json()["interpretation"] == "says iflow"
    assert answer.headers["ratelimit-policy"] == '"ai";q=10;w=60'
    assert provider_calls(example, iflow="down", groq="refuses") == ["iflow"]
    assert interpret(example).json()["provider"] == "cerebras"
    assert provider_calls(example) == PROVIDERS
    assert interpret(example, content="{").status_code == 400
    assert ai_state(example) == {
        "seconds": 300,
        "order": PROVIDERS,
        "outcomes": {
            "iflow": {"ok": 1, "failed": 1},
            "groq": {"ok": 0, "failed": 1},
            "cerebras": {"ok": 1, "failed": 0},
        },
    }
    assert provider_calls(example) == []


def test_interpretations_are_limited_by_user(example: Example) -> None:
    example.limits(calc={"limit": 9, "period": 60, "key": "ip"}, ai={"limit": 1, "period": 60, "key": "user"})
    mia, tom = sign_in(example), sign_in(example, "tom@fortunet.example")
    answers = [interpret(example, headers=each) for each in (mia, mia, tom, {}, {})]
    assert [answer.status_code for answer in answers] == [200, 429, 200, 200, 429]
    assert len(provider_calls(example)) == 3


def test_failing_provider_is_last_for_five_minutes(example: Example) -> None:
    provider_calls(example, iflow="down")
    for _ in range(3):
        assert interpret(example).json()["provider"] == "groq"
    assert ai_state(example)["order"] == ["groq", "cerebras", "iflow"]
    provider_calls(example)
    assert interpret(example).json()["provider"] == "groq"
    assert provider_calls(example) == ["groq"]
    example.advance(minutes=4)
    assert ai_state(example)["outcomes"]["iflow"] == {"ok": 0, "failed": 3}
    example.advance(minutes=1)
    assert ai_state(example) == {
        "seconds": 300,
        "order": PROVIDERS,
        "outcomes": {name: {"ok": 0, "failed": 0} for name in PROVIDERS},
    }


def test_ai_switch_selects_first_provider(example: Example) -> None:
    provider_calls(example, groq="down")
    example.switch("ai", "groq")
    for _ in range(3):
        assert interpret(example).json()["provider"] == "iflow"
    assert provider_calls(example) == ["groq", "iflow"] * 3
    assert ai_state(example)["order"] == ["groq", "iflow", "cerebras"]
    example.switch("ai", "cerebras")
    assert interpret(example).json()["provider"] == "cerebras"
    assert ai_state(example)["order"] == ["cerebras", "iflow", "groq"]
    example.switch("ai", "a-provider-of-later")
    assert ai_state(example)["order"] == ["iflow", "cerebras", "groq"]


def test_failure_of_all_providers_returns_503(example: Example) -> None:
    provider_calls(example, **dict.fromkeys(PROVIDERS, "down"))
    answer = interpret(example)
    assert (answer.status_code, answer.json()) == (503, NO_AI)
    assert provider_calls(example) == PROVIDERS
    broken = interpret(example, headers={"without": "AI_MUTEX"})
    assert (broken.status_code, broken.json()) == (503, NO_AI)


def test_ai_switch_off_calls_no_provider_and_shows_message(example: Example) -> None:
    example.switch("ai", "off")
    answer = interpret(example)
    assert (answer.status_code, answer.json()) == (503, NO_AI)
    example.switch("ai", "off", message="back at noon")
    assert interpret(example, headers={"authorization": "Bearer x"}).json() == {"error": "back at noon"}
    assert provider_calls(example) == []
    assert ai_state(example)["order"] == []
    assert example.http.get("/api/charts/calculate", params=BIRTH).status_code == 200


def test_hanging_provider_times_out(example: Example) -> None:
    provider_calls(example, iflow="holds")
    assert interpret(example).json()["provider"] == "groq"
    assert ai_state(example)["outcomes"]["iflow"] == {"ok": 0, "failed": 1}


def test_provider_calls_are_serialized_with_bounded_queue(example: Example) -> None:
    provider_calls(example, iflow="holds")
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(interpret, example) for _ in range(8)]
        while ai_mutex(example)["memory"]["waiting"] < 8:
            assert not any(each.done() for each in waiting)
        refused = interpret(example)
        assert (refused.status_code, refused.json()) == (503, NO_AI)
        first = provider_calls(example)
        assert [each.result().status_code for each in waiting] == [200] * 8
    assert {*first, *provider_calls(example)} <= set(PROVIDERS)
    assert ai_mutex(example)["memory"]["waiting"] == 0


def test_provider_is_skipped_after_daily_quota(example: Example) -> None:
    for number in range(13):
        example.advance(minutes=1)
        assert interpret(example).json()["provider"] == ("iflow" if number < 12 else "groq")
    assert ai_mutex(example)["quota"]["iflow"] == {"used": 12, "per_day": 12}
    assert ai_state(example)["order"] == ["groq", "cerebras"]
    example.advance(days=1)
    assert ai_state(example)["order"] == PROVIDERS


def ai_health(example: Example, **headers: str) -> tuple[int, str]:
    answer = example.http.get("/health/ai", headers=headers)
    return answer.status_code, answer.json()["status"]


def test_ai_health_is_down_after_all_providers_fail(example: Example) -> None:
    assert ai_health(example) == (200, "ok")
    assert ai_health(example, without="AI_MUTEX") == (503, "stuck")
    provider_calls(example, iflow="down", groq="down")
    interpret(example)
    assert ai_health(example) == (200, "ok")
    provider_calls(example, **dict.fromkeys(PROVIDERS, "down"))
    for _ in range(2):
        interpret(example)
    assert ai_health(example) == (503, "down")
    assert len(provider_calls(example)) == 6
    example.switch("ai", "off")
    assert ai_health(example, without="AI_MUTEX") == (200, "off")
    example.switch("ai", "auto")
    assert ai_health(example) == (503, "down")
    example.advance(minutes=5)
    assert ai_health(example) == (200, "ok")
    assert provider_calls(example) == []


def test_ai_health_stays_slow_after_reset(example: Example) -> None:
    provider_calls(example, iflow="holds")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(interpret, example)
        while ai_mutex(example)["quota"]["iflow"]["used"] == 0:
            assert not waiting.done()
        example.advance(seconds=5)
        provider_calls(example)
        assert waiting.result().json()["provider"] == "iflow"
    assert ai_health(example) == (503, "slow")
    example.http.post("/__ops/objects/ai-mutex/reset", headers=ADMIN)
    assert ai_health(example) == (503, "slow")
    example.switch("ai", "groq")
    assert ai_health(example) == (200, "ok")
    example.switch("ai", "auto")
    assert interpret(example).json()["provider"] == "iflow"
    assert ai_health(example) == (200, "ok")


# Objects.


def test_reset_clears_memory_and_keeps_quota(example: Example) -> None:
    provider_calls(example, iflow="down")
    interpret(example)
    answer = example.http.post("/__ops/objects/ai-mutex/reset", headers=ADMIN)
    assert answer.status_code == 200
    before, after = answer.json()["before"], answer.json()["after"]
    assert (before["memory"]["answered"] > 0, after["memory"]) == (True, {"answered": 0, "waiting": 0})
    assert before["instance"] != after["instance"]
    assert before["quota"] == after["quota"] == ai_mutex(example)["quota"]
    assert [after["quota"][name]["used"] for name in PROVIDERS] == [1, 1, 0]
    assert ai_state(example)["outcomes"]["iflow"] == {"ok": 0, "failed": 1}
    assert interpret(example).json()["provider"] == "groq"


def test_reset_releases_waiting_requests(example: Example) -> None:
    provider_calls(example, **dict.fromkeys(PROVIDERS, "holds"))
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(interpret, example) for _ in range(2)]
        while ai_mutex(example)["memory"]["waiting"] < 2:
            assert not any(each.done() for each in waiting)
        assert (
            example.http.post("/__ops/objects/ai-mutex/reset", headers=ADMIN).json()["after"]["memory"]["waiting"] == 0
        )
        assert [each.result().json() for each in waiting] == [NO_AI, NO_AI]


def test_reset_keeps_session_state(example: Example) -> None:
    mine = sign_in(example)
    path = f"/__ops/objects/session-{_parse(mine)[1]['sid']}"
    assert example.http.post(f"{path}/reset", headers=ADMIN).json()["after"] == {"known": True}
    assert example.http.get("/api/me", headers=mine).status_code == 200
    example.http.delete("/api/session", headers=mine)
    example.http.post(f"{path}/reset", headers=ADMIN)
    assert example.http.get("/api/me", headers=mine).status_code == 401


def test_object_access_requires_admin_token_and_known_name(example: Example) -> None:
    instance = ai_mutex(example)["instance"]
    reset = "/__ops/objects/ai-mutex/reset"
    bad = [
        {},
        {"authorization": "Bearer x"},
        {"authorization": "opens objects"},
        {"authorization": "Basic opens objects"},
    ]
    assert [example.http.post(reset, headers=each).status_code for each in bad] == [401] * 4
    assert [example.http.get("/__ops/objects/ai-mutex", headers=each).status_code for each in bad] == [401] * 4
    unset = {"without": "ADMIN_TOKEN", "authorization": "Bearer undefined"}
    assert [example.http.post(reset, headers=each | unset).status_code for each in (ADMIN, {})] == [404, 404]
    others = ["ai-mutex/", "ai-mutex/other", "ai-mutex/reset/x", "other", "session-x", "constructor", ""]
    assert [example.http.post(f"/__ops/objects/{name}", headers=ADMIN).status_code for name in others] == [404] * 7
    assert example.http.get(reset, headers=ADMIN).status_code == 405
    assert ai_mutex(example)["instance"] == instance


def test_banner_is_public_text_until_it_is_removed(example: Example) -> None:
    def shown() -> Any:
        example.advance(seconds=1)
        answer = example.http.get("/api/banner")
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert example.runtime_state()["banner"] == answer.json()["banner"]
        return answer.json()["banner"]

    until = example.moment(hours=1)
    assert shown() is None
    example.switch("banner", "identified", until=until, message="<b>We know</b> the cause.")
    assert shown() == {"level": "warning", "text": "<b>We know</b> the cause.", "until": until}
    example.switch("banner", "monitoring", message="A fix is in place.")
    assert shown() == {"level": "info", "text": "A fix is in place."}
    for state, text in (("off", "A fix is in place."), ("identified", ""), ("unknown", "a state of nobody")):
        example.switch("banner", state, message=text)
        assert shown() is None
    example.switch("banner", "identified", until=until, message="over")
    example.advance(hours=2)
    assert shown() is None
