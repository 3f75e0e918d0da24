"""A plugin of pytest that prints each collected test with the names of its marks, one JSON list a line."""

import json

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    for item in session.items:
        print(json.dumps([item.nodeid, sorted({mark.name for mark in item.iter_markers()})]))
