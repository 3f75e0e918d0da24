"""Run the API's SQL on the databases of Workers: one helper Worker per database."""

import base64
import http.client
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from sandbox.cloudflare.d1.state import SqlError, Statement

_CODE = """export default {
  async fetch(request, env) {
    try {
      const statements = (await request.json()).map(([sql, params]) => env.DB.prepare(sql).bind(...params));
      return Response.json({ results: await env.DB.batch(statements) });
    } catch (error) {
      return Response.json({ error: error.message });
    }
  },
};
"""
_ERROR_PREFIX = "D1_ERROR: "
"""Prefix of each error in a Worker; errors of the API do not have it."""

Start = Callable[[Mapping[str, Any]], str]
"""Starts miniflare with these options and returns its URL."""


class WorkerdDatabases:
    def __init__(self, start: Start) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._urls: dict[str, str] = {}

    def query(self, database: str, statements: Sequence[Statement]) -> list[dict[str, Any]]:
        with self._lock:
            if database not in self._urls:
                self._urls[database] = self._start(_options(database))
            url = self._urls[database]
        with closing(http.client.HTTPConnection(urlsplit(url).netloc)) as connection:
            connection.request("POST", "/", json.dumps(statements))
            answer = json.loads(connection.getresponse().read())
        if "error" in answer:
            raise SqlError(answer["error"].removeprefix(_ERROR_PREFIX))
        results: list[dict[str, Any]] = answer["results"]
        return results


def _options(database: str) -> dict[str, Any]:
    module = {"type": "ESModule", "path": "index.js", "contents": base64.b64encode(_CODE.encode()).decode()}
    return {
        "name": "sandbox-d1",
        "modules": [module],
        "compatibilityDate": "2026-09-01",
        "d1Databases": {"DB": database},
    }
