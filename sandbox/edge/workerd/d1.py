"""D1 bindings of Workers: workerd sends each query to the database that the API uses.

A binding is a *remote* one of miniflare, as `wrangler dev` makes for a real database: workerd runs its own D1 client,
and the sandbox answers its requests. The SQLite files of miniflare's local D1 were the alternative. They have no
bookmark for the write of a Worker, and a running workerd does not see a file that a restore replaced.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from sandbox.cloudflare.d1.api import ResultsFormat, results_to_json
from sandbox.cloudflare.d1.sqlite import SqlError, Statement, split_statements
from sandbox.cloudflare.d1.state import D1Databases, DatabaseStore, QueryAnswer
from sandbox.server import HttpRequest, HttpResponse, Server

_BOOKMARK = "x-cf-d1-session-commit-token"
_PRIMARY = "first-primary"
_ANY = "first-unconstrained"


class BindingServer:
    """Answers the D1 bindings of all running versions."""

    def __init__(self, databases: D1Databases) -> None:
        self._databases = databases
        self._server = Server(self._answer)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def options(self, bindings: Mapping[str, str]) -> dict[str, Any]:
        """Return miniflare's options for bindings, given as name → database ID. All share one URL."""
        url = f"{self._server.url}/?{urlencode(bindings)}"
        return {name: {"id": id_, "remoteProxyConnectionString": url} for name, id_ in bindings.items()}

    def _answer(self, request: HttpRequest) -> HttpResponse:
        """Answer a request of workerd's D1 client. Each text has the result of its last statement.

        github.com/cloudflare/workerd, src/cloudflare/internal/d1-api.ts
        """
        headers = request.headers
        store = self._databases.store(request.query[headers["mf-binding"]])
        endpoint = urlsplit(headers["mf-url"])
        texts = json.loads(request.body)
        texts = texts if isinstance(texts, list) else [texts]
        try:
            results = _run(store, texts, headers.get(f"mf-header-{_BOOKMARK}", _PRIMARY), endpoint.query)
        except SqlError as error:
            return _json({"success": False, "error": str(error)}, store)
        return _json(results, store)


def _run(store: DatabaseStore, texts: list[Any], session: str, query: str) -> list[dict[str, Any]]:
    statements: list[Statement] = []
    last: list[int] = []
    for text in texts:
        parts = list(split_statements(text["sql"]))
        # Only the last statement of a text can have parameters.
        statements += [(part, []) for part in parts[:-1]] + [(part, text.get("params") or []) for part in parts[-1:]]
        if parts:
            last.append(len(statements) - 1)
    if not statements:
        raise SqlError("No SQL statements detected.")
    answer = _run_in_session(store, statements, session)
    results_format: ResultsFormat = "ROWS_AND_COLUMNS" if "ROWS_AND_COLUMNS" in query else "ARRAY_OF_OBJECTS"
    shown = results_to_json(answer, results_format, region="WEUR")
    return [shown[index] for index in last]


def _run_in_session(store: DatabaseStore, statements: list[Statement], session: str) -> QueryAnswer:
    if session == _PRIMARY:
        return store.run(statements)
    return store.run_in_session(statements, "" if session == _ANY else session)


def _json(value: Any, store: DatabaseStore) -> HttpResponse:
    headers = [("content-type", "application/json"), (_BOOKMARK, store.history.current.bookmark)]
    return HttpResponse(headers=headers, body=json.dumps(value).encode())
