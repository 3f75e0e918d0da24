"""A local receiver of chat messages that answers as Slack and Discord do, or with faults."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sandbox.server import HttpRequest, HttpResponse, Server


@dataclass
class Receiver:
    url: str = ""
    requests: list[HttpRequest] = field(default_factory=list)
    answers: dict[str, HttpResponse] = field(default_factory=dict)
    """Path → response, instead of the service's own."""
    before: Callable[[str], object] = field(default=lambda _path: None)
    """Called with the path while the sender waits."""
    released: threading.Event = field(default_factory=threading.Event)
    """Ends every hanging response."""

    @property
    def slack(self) -> str:
        return f"{self.url}/services/T0/B0/k4n4ry-marked-slack"

    @property
    def discord(self) -> str:
        return f"{self.url}/api/webhooks/1/k4n4ry-marked-discord"

    @property
    def environ(self) -> dict[str, str]:
        return {"SLACK_WEBHOOK_URL": self.slack, "DISCORD_WEBHOOK_URL": self.discord}

    def sent(self, service: str) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.requests if service in request.path]

    @property
    def texts(self) -> list[str]:
        """Messages to Slack without their links."""
        return [body["text"].partition("\n")[0] for body in self.sent("slack")]

    def answer(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        self.before(request.path)
        for path, response in self.answers.items():
            if path in request.path:
                return response
        return HttpResponse(body=b"ok") if "slack" in request.path else HttpResponse(body=b'{"id": "1"}')


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    server = Server(receiver.answer)
    receiver.url = server.url
    server.start()
    yield receiver
    receiver.released.set()
    server.stop()
