"""Public updates and the pages that show them: those of a bakery, which has no service of the reference application."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from ops.core.public_update import AffectedComponent, ComponentCondition, PublicState, PublicUpdate
from ops.status_page.overview import PageOverview, StatusPageSettings, fold_updates

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
SETTINGS = StatusPageSettings(
    "Bakery status", "https://status.bakery.example", ("Shop", "Kitchen", "Delivery"), timedelta(minutes=15)
)
MAJOR, PARTIAL, DEGRADED = (
    ComponentCondition.MAJOR_OUTAGE,
    ComponentCondition.PARTIAL_OUTAGE,
    ComponentCondition.DEGRADED,
)
WORKS, OFF = ComponentCondition.OPERATIONAL, ComponentCondition.MAINTENANCE


def public_id(name: object) -> str:
    return sha256(str(name).encode()).hexdigest()[:12]


def update(
    incident: str,
    number: int,
    state: str,
    components: Mapping[str, ComponentCondition | None],
    text: str = "We are on it.",
    *,
    ago: float = 0,
    corrects: int = 0,
    **times: datetime,
) -> PublicUpdate:
    """Return an update of `ago` minutes before NOW. `corrects`: number of a former one."""
    return PublicUpdate(
        id=public_id(f"{incident} {number}"),
        incident=public_id(incident),
        state=PublicState(state),
        components=tuple(AffectedComponent(*each) for each in components.items()),
        text=text,
        at=NOW - timedelta(minutes=ago),
        number=number,
        corrects=public_id(f"{incident} {corrects}") if corrects else "",
        **times,
    )


def overview(*updates: PublicUpdate, settings: StatusPageSettings = SETTINGS, built_at: datetime = NOW) -> PageOverview:
    return fold_updates(settings, updates, built_at)


ALL_WORK = update("calm", 1, "resolved", {"Shop": WORKS, "Kitchen": WORKS, "Delivery": WORKS}, ago=5000)
OUTAGE = (
    update("outage", 1, "investigating", {"Shop": MAJOR}, "Orders fail.", ago=90),
    update("outage", 2, "identified", {"Shop": PARTIAL}, "The oven is at fault.", ago=80),
)
PLANNED = update(
    "move",
    1,
    "scheduled",
    {"Kitchen": None},
    "We move.",
    ago=30,
    starts=NOW + timedelta(hours=5),
    ends=NOW + timedelta(hours=6),
)
