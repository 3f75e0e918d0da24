"""Write rows through the edge, as the users of an application do, while a drill runs."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

ROWS_PER_SECOND = 20
TIMEOUT = 5.0


@dataclass(frozen=True)
class WriterAnswer:
    status: int
    """0 if there was no response."""
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.status == 200 else None


class Edge:
    """Sends requests to one service of the sandbox's edge."""

    def __init__(self, edge_url: str, service_url: str) -> None:
        self._edge = urlsplit(edge_url)
        self._host = urlsplit(service_url).netloc

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> WriterAnswer:
        connection = http.client.HTTPConnection(self._edge.hostname or "", self._edge.port, timeout=TIMEOUT)
        sent = {"host": self._host, "content-type": "application/json", **(headers or {})}
        try:
            connection.request("POST", path, json.dumps(body), sent)
            response = connection.getresponse()
            return WriterAnswer(response.status, response.read())
        except (OSError, http.client.HTTPException):
            return WriterAnswer(0)
        finally:
            connection.close()


class Writer:
    """Adds rows in a thread of its own, as a context manager."""

    def __init__(self, write: Callable[[], bool]) -> None:
        """`write` adds a row, and returns whether the application accepted it."""
        self._write = write
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.accepted = 0
        self.refused = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, rows: int, seconds: float) -> bool:
        """Return whether the application accepted this number of rows in time."""
        end = time.monotonic() + seconds
        while self.accepted < rows and time.monotonic() < end:
            self._stop.wait(0.05)
        return self.accepted >= rows

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / ROWS_PER_SECOND, time.monotonic() - 1)  # catch up for one second at most
            if self._write():
                self.accepted += 1
            else:
                self.refused += 1
