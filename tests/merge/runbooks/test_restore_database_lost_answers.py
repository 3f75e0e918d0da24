"""Lost answers and requests of a restore: the rows of the database decide, and nothing is restored twice."""

from typing import Any

import pytest

from ops.database.restore import UNDO_PREFIX
from tests.runbooks.test_restore_database import BEFORE_LAST, library
from tests.support.commands import ended, texts
from tests.support.databases import RESTORE, Library

__all__ = ["library"]


@pytest.mark.parametrize("answer", [{"lost": "after"}, {"status": 500, "applied": True}, {"body": "", "applied": True}])
def test_lost_answer_is_settled_by_the_migrations(library: Library, answer: dict[str, Any]) -> None:
    library.world.sandbox.fault(**RESTORE, **answer)

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert len(library.restores) == 1
    (undo,) = done.result["undo"]
    library.world.sandbox.clock.advance(60)
    library.restore(undo.partition("--to ")[2].split()[0])
    assert library.count("loans") == 4


def test_lost_request_is_sent_once_more(library: Library) -> None:
    library.world.sandbox.fault(**RESTORE, lost="before")

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert len(library.restores) == 2
    assert library.migrations == ["0001_first.sql"]


def test_lost_answer_with_stale_reads_does_not_restore_twice(library: Library) -> None:
    library.world.sandbox.switches.d1_stale_reads = 3
    library.world.sandbox.fault(**RESTORE, lost="after")

    done = library.restore(BEFORE_LAST)

    assert done.code == 0, done.err
    assert len(library.restores) == 1


def test_lost_answer_that_nothing_settles_is_unknown(library: Library) -> None:
    """Only a title changes after the target, so neither schema, migrations nor counts tell."""
    library.world.sandbox.clock.advance(600)
    library.write("UPDATE books SET title = 'Persuasion' WHERE id = 1", minutes=5)
    library.world.sandbox.clock.advance(60)
    library.world.sandbox.fault(**RESTORE, lost="after")

    done = library.restore("-3m")

    assert ended(done)[:2] == (5, "unknown_outcome")
    assert len(library.restores) == 1
    assert any(text.startswith(f"{UNDO_PREFIX}lib: bookmark ") for text in texts(done, "prepared"))
