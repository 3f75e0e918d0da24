"""Chat and paging services with their limits and errors, on one address.

Slack, Discord, Teams, PagerDuty and ntfy.

With the inconvenient answer: Slack refuses a reply to an unknown message [unsure: slack-thread-gone]; the trigger of a
Teams flow refuses a card that is too large [unsure: teams-limits].
"""

import json
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.server import HttpRequest, HttpResponse, Server, json_response

SLACK_TEXT = 40_000
"""Characters of a message that Slack does not truncate: docs.slack.dev/reference/methods/chat.postMessage"""
DISCORD_TEXT = 2_000
"""docs.discord.com/developers/resources/webhook#execute-webhook"""
TEAMS_BYTES, TEAMS_SECOND = 28 * 1024, 4
"""Size of a message and requests in a second: learn.microsoft.com, *Create incoming webhooks*."""
PAGER_BYTES, PAGER_SUMMARY, PAGER_KEY = 512 * 1024, 1024, 255
"""developer.pagerduty.com/docs/send-alert-event"""
NTFY_BYTES, NTFY_BURST = 4_096, 60
"""Bytes of a message and requests at once: docs.ntfy.sh/publish/#limitations"""
SLACK_BURST = 5
"""Messages to one channel at once. Slack permits one a second and "short bursts".

docs.slack.dev/apis/web-api/rate-limits
"""


@dataclass
class FakeChats:
    """All services on one address of this machine. A test sets what exists and `now`, and reads what arrived."""

    slack_token: str = "xoxb-" + "sandbox"
    slack_channels: set[str] = field(default_factory=lambda: {"C0SANDBOX1"})
    """Channels that the bot is in."""
    routing_key: str = "0" * 32
    ntfy_tokens: dict[str, str] = field(default_factory=dict)
    """Topic → token that may write; other topics are open."""
    now: Callable[[], float] = field(default=lambda: 0.0)
    """Seconds, by which the limits count. Standing still by default, so that all requests are one burst."""
    down: set[str] = field(default_factory=set)
    """Services that answer 503."""
    slack_messages: list[dict[str, Any]] = field(default_factory=list)
    webhook_messages: list[dict[str, Any]] = field(default_factory=list)
    """Messages to incoming webhooks of Slack and Discord."""
    teams_cards: list[dict[str, Any]] = field(default_factory=list)
    pager_events: list[dict[str, Any]] = field(default_factory=list)
    pages_sent: list[str] = field(default_factory=list)
    """Summaries by which PagerDuty notified a person."""
    ntfy_messages: list[dict[str, Any]] = field(default_factory=list)
    _alerts: dict[str, str] = field(default_factory=dict)
    """Key → state of the open alert."""
    _sent: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: HttpRequest) -> HttpResponse:
        routes: dict[str, tuple[str, Callable[[HttpRequest], HttpResponse]]] = {
            "/api/chat.postMessage": ("slack", self._post_to_slack),
            "/services/": ("slack", self._post_to_slack_webhook),
            "/api/webhooks/": ("discord", self._post_to_discord),
            "/workflows/": ("teams", self._post_to_teams),
            "/v2/enqueue": ("pagerduty", self._enqueue_event),
        }
        name, handle = next(
            (route for path, route in routes.items() if request.path.startswith(path)), ("ntfy", self._publish_to_ntfy)
        )
        with self._lock:
            if name in self.down:
                return HttpResponse(status=503, body=b"unavailable")
            if request.method != "POST":
                return HttpResponse(status=405)
            return handle(request)

    def _is_too_fast(self, key: str, most: int, seconds: float) -> bool:
        sent, now = self._sent.setdefault(key, deque()), self.now()
        while sent and now - sent[0] >= seconds:
            sent.popleft()
        sent.append(now)
        return len(sent) > most

    def _post_to_slack(self, request: HttpRequest) -> HttpResponse:
        """Slack answers 200 with an error, except for too many requests."""
        body = _read_object(request) or {}
        token = request.headers.get("authorization", "")
        if error := self._find_slack_error(token, request, body):
            return json_response(200, {"ok": False, "error": error})
        channel = str(body["channel"])
        if self._is_too_fast(f"slack {channel}", SLACK_BURST, 1.0):
            answer = json_response(429, {"ok": False, "error": "rate_limited"})
            answer.headers.append(("retry-after", "1"))
            return answer
        posted = f"17000000{len(self.slack_messages):02d}.{len(self.slack_messages):06d}"
        self.slack_messages.append({**body, "ts": posted, "text": str(body["text"])[:SLACK_TEXT]})
        return json_response(200, {"ok": True, "channel": channel, "ts": posted, "message": {"ts": posted}})

    def _find_slack_error(self, token: str, request: HttpRequest, body: Any) -> str:
        if not token.startswith("Bearer "):
            return "not_authed"
        if token != f"Bearer {self.slack_token}":
            return "invalid_auth"
        if "json" not in request.headers.get("content-type", ""):
            return "invalid_post_type"
        if not body:
            return "invalid_json"
        if not isinstance(body.get("channel"), str) or not re.fullmatch("[CG][A-Z0-9]{8,20}", body["channel"]):
            return "channel_not_found"
        if body["channel"] not in self.slack_channels:
            return "not_in_channel"
        if not isinstance(body.get("text"), str) or not body["text"]:
            return "no_text"
        parents = {each["ts"] for each in self.slack_messages if "thread_ts" not in each}
        if "thread_ts" in body and body["thread_ts"] not in parents:
            return "thread_not_found"
        return ""

    def _post_to_slack_webhook(self, request: HttpRequest) -> HttpResponse:
        body = _read_object(request)
        if body is None or not isinstance(body.get("text"), str):
            return HttpResponse(status=400, body=b"invalid_payload")
        if not body["text"]:
            return HttpResponse(status=400, body=b"no_text")
        self.webhook_messages.append(body)
        return HttpResponse(body=b"ok")

    def _post_to_discord(self, request: HttpRequest) -> HttpResponse:
        body = _read_object(request)
        if body is None or not 0 < len(str(body.get("content", ""))) <= DISCORD_TEXT:
            return json_response(400, {"content": [f"Must be {DISCORD_TEXT} or fewer in length."]})
        self.webhook_messages.append(body)
        return json_response(200, {"id": "1"}) if request.query.get("wait") == "true" else HttpResponse(status=204)

    def _post_to_teams(self, request: HttpRequest) -> HttpResponse:
        """A flow accepts the request and posts later: 202 does not say that the card was shown."""
        if self._is_too_fast("teams", TEAMS_SECOND, 1.0):
            return HttpResponse(status=429, headers=[("retry-after", "1")])
        if len(request.body) > TEAMS_BYTES:
            return HttpResponse(status=413)
        body = _read_object(request)
        cards = body.get("attachments") if body and body.get("type") == "message" else None
        if not isinstance(cards, list) or not cards or not all(map(_is_adaptive_card, cards)):
            return json_response(400, {"error": {"code": "TriggerInputSchemaMismatch"}})
        self.teams_cards += [each["content"] for each in cards]
        return HttpResponse(status=202)

    def _enqueue_event(self, request: HttpRequest) -> HttpResponse:
        body = _read_object(request)
        problems = ["JSON is invalid"] if body is None else _find_event_problems(body)
        if len(request.body) > PAGER_BYTES:
            problems = ["payload is too large"]
        if problems or body is None:
            invalid = {"status": "invalid event", "message": "Event object is invalid", "errors": problems}
            return json_response(400, invalid)
        if body["routing_key"] != self.routing_key:
            return json_response(400, {"status": "invalid event", "errors": ["Invalid routing key"]})
        self.pager_events.append(body)
        self._apply_event(str(body.get("dedup_key") or len(self.pager_events)), body)
        return json_response(202, {"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]})

    def _apply_event(self, key: str, body: dict[str, Any]) -> None:
        """Apply an event: an acknowledged alert notifies nobody, a trigger after a resolved one does."""
        action = body["event_action"]
        if action == "trigger" and key not in self._alerts:
            self._alerts[key] = "triggered"
            self.pages_sent.append(body["payload"]["summary"])
        elif action == "acknowledge" and key in self._alerts:
            self._alerts[key] = "acknowledged"
        elif action == "resolve":
            self._alerts.pop(key, None)

    @property
    def open_alerts(self) -> dict[str, str]:
        return dict(self._alerts)

    def _publish_to_ntfy(self, request: HttpRequest) -> HttpResponse:
        """Publish as JSON, which only the root of the server takes (docs.ntfy.sh/publish/#publish-as-json)."""
        if self._is_too_fast("ntfy", NTFY_BURST, 300.0):
            return _ntfy_error(429, 42901, "limit reached: too many requests, please be nice")
        body = _read_object(request)
        if request.path != "/" or body is None:
            return _ntfy_error(400, 40017, "invalid request: request body must be message JSON")
        topic = body.get("topic")
        if not isinstance(topic, str) or not re.fullmatch("[-_A-Za-z0-9]{1,64}", topic):
            return _ntfy_error(400, 40009, "invalid request: topic invalid")
        if body.get("priority", 3) not in range(1, 6):
            return _ntfy_error(400, 40007, "invalid priority parameter")
        token = self.ntfy_tokens.get(topic)
        if token and request.headers.get("authorization") != f"Bearer {token}":
            return _ntfy_error(403, 40301, "forbidden")
        is_attached = len(str(body.get("message", "")).encode()) > NTFY_BYTES
        self.ntfy_messages.append({**body, "is_attached": is_attached})
        return json_response(200, {"id": "abcdefghijkl", "event": "message", "topic": topic})


def start_chats() -> tuple[FakeChats, Server]:
    """Start the services on a free port of this machine."""
    chats = FakeChats()
    server = Server(chats.answer)
    server.start()
    return chats, server


def _read_object(request: HttpRequest) -> dict[str, Any] | None:
    try:
        body = json.loads(request.body)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _is_adaptive_card(attachment: Any) -> bool:
    """Workflows take adaptive cards only: learn.microsoft.com, *Create and send messages*, known issues."""
    if not isinstance(attachment, dict):
        return False
    card = attachment.get("content")
    if attachment.get("contentType") != "application/vnd.microsoft.card.adaptive" or not isinstance(card, dict):
        return False
    return card.get("type") == "AdaptiveCard" and "version" in card and isinstance(card.get("body"), list)


def _find_event_problems(body: dict[str, Any]) -> list[str]:
    payload, key = body.get("payload"), body.get("dedup_key")
    payload = payload if isinstance(payload, dict) else {}
    action = body.get("event_action")
    rules = {
        "'routing_key' must have 32 characters": len(str(body.get("routing_key", ""))) == 32,
        "'event_action' is invalid": action in {"trigger", "acknowledge", "resolve"},
        "'dedup_key' is too long": len(str(key or "")) <= PAGER_KEY,
        "'dedup_key' is missing": action == "trigger" or bool(key),
    }
    if action == "trigger":
        rules |= {
            "'payload.summary' is missing or too long": 0 < len(str(payload.get("summary", ""))) <= PAGER_SUMMARY,
            "'payload.source' is missing": bool(payload.get("source")),
            "'payload.severity' is invalid": payload.get("severity") in {"critical", "error", "warning", "info"},
        }
    return [problem for problem, is_met in rules.items() if not is_met]


def _ntfy_error(status: int, code: int, message: str) -> HttpResponse:
    return json_response(status, {"code": code, "http": status, "error": message})
