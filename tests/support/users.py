"""Requests of users to the edge."""

from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit


def send_requests(edge_url: str, host: str, path: str, times: int) -> list[int]:
    """Send GETs over one connection, and return the HTTP statuses. An HTTP client takes three times as long."""
    statuses = []
    with closing(HTTPConnection(urlsplit(edge_url).netloc)) as edge:
        for _ in range(times):
            edge.request("GET", path, headers={"host": host})
            answer = edge.getresponse()
            answer.read()
            statuses.append(answer.status)
    return statuses
