"""Run transactions with made-up rows: these show more losses, and foreign keys that fail."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ops.database.local_copy import LocalCopy, SchemaObject, SqlRejectedError
from ops.database.losses import RowLoss


@dataclass(frozen=True)
class UnseenLosses:
    transactions: tuple[tuple[RowLoss, ...], ...]
    """Losses of each transaction that ran."""
    failure: str = ""
    """Why D1 refuses the next one if rows refer to each other; empty if it does not."""


def find_unseen(schema: Iterable[SchemaObject], transactions: Iterable[Sequence[str]]) -> UnseenLosses:
    """Return the losses of transactions that passed without rows.

    Made-up rows may break a rule that those of the database keep, so that only a failing foreign key counts.
    """
    found = list[tuple[RowLoss, ...]]()
    try:
        with LocalCopy(schema, has_rows=True) as copy:
            for statements in transactions:
                found.append(copy.find_lost_rows(statements))
    except SqlRejectedError as error:
        return UnseenLosses(tuple(found), str(error) if "FOREIGN KEY" in str(error) else "")
    return UnseenLosses(tuple(found))
