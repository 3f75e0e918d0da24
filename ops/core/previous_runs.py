"""Records of earlier runs on an incident, as its issue has them."""

import re
from dataclasses import dataclass
from datetime import datetime

from ops.core.run_record import Block

_UPLOADED = re.compile(r"version ([0-9a-f]{8}-[0-9a-f-]{27}), not deployed")


@dataclass(frozen=True)
class Earlier:
    """Empty if there is no incident, or GitHub did not answer in time. At most it makes a run stricter."""

    runs: tuple[Block, ...] = ()
    """Oldest first."""
    opened_at: datetime | None = None

    @property
    def uploads(self) -> frozenset[str]:
        """Return the Worker versions that these runs uploaded."""
        written = (row.text for run in self.runs for row in run.rows if row.kind == "written")
        return frozenset(found[1] for text in written if (found := _UPLOADED.match(text)))
