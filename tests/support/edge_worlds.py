"""Random edges on which a rollback is proved, and what each of their machines really serves.

`prove` runs the public command. The truth is read from the sandbox, which knows the machine of each answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from ops.core.clock import unparse_duration
from tests.conftest import ACCOUNT
from tests.support.claims import GOOD_DECISIONS, case_world

WORKER, PLACE = "bakery-till", "FRA"
CONFIG = """\
environments:
  live:
    account_id: {account}
    token: BAKERY_TOKEN
    services:
      till:
        worker: {worker}
        url: https://till.bakery.example
        verify: {{successes: {successes}, interval: {interval}, deadline: {deadline}}}
        probes:
"""
NAMES_VERSION = "{{name: probe{number}, http: {{path: /health/{number}, version: version.id}}}}"
NAMES_NONE = "{{name: probe{number}, http: {{path: /health/{number}}}}}"


@dataclass(frozen=True)
class EdgeWorld:
    lags: Mapping[str, tuple[float, ...]]
    """Place → seconds until each of its machines serves a deployment."""
    seed: int = 0
    """Decides which machine answers."""
    named: int = 1
    """Probes that see the version in each answer."""
    unnamed: int = 0
    """Other probes."""
    share: float = 1.0
    """Share of the requests to the bad version that fail."""
    good_names_itself: bool = True
    bad_names_itself: bool = True
    successes: int = 3
    interval: float = 1.0
    deadline: float = 120.0

    @property
    def config(self) -> str:
        interval, deadline = (unparse_duration(seconds) for seconds in (self.interval, self.deadline))
        forms = [*[NAMES_VERSION] * self.named, *[NAMES_NONE] * self.unnamed]
        probes = (f"          - {form.format(number=number)}\n" for number, form in enumerate(forms))
        return CONFIG.format(
            account=ACCOUNT, worker=WORKER, successes=self.successes, interval=interval, deadline=deadline
        ) + "".join(probes)


@dataclass(frozen=True)
class Proof:
    """The end of a rollback, and what the edge served then."""

    decision: str
    seconds: float
    """Time from the write to the end of the proof."""
    last_round: tuple[str, ...]
    """Versions that answered the last round."""
    former: Mapping[str, float] = field(default_factory=dict)
    """Place → share of its machines that still serve the bad version at the end."""
    good: str = ""
    warnings: tuple[str, ...] = ()
    """Warnings of the plan."""

    @property
    def is_claimed(self) -> bool:
        return self.decision in GOOD_DECISIONS

    @property
    def is_false(self) -> bool:
        """Whether a machine that answered the last round served another version, although the run claims success."""
        return self.is_claimed and {*self.last_round} != {self.good}


def draw_world(random: Random) -> EdgeWorld:
    """Return a world in which the probes can tell: each answer names its version, or the bad version always fails."""
    longest = random.choice([0, 1, 5, 20, 60, 119, 400])
    places = {PLACE: random.randint(1, 12), "AMS": random.randint(1, 4), "SYD": 2}
    lags = {
        place: tuple(random.choice([0.0, longest, random.uniform(0, longest)]) for _ in range(number))
        for place, number in places.items()
    }
    can_all_tell = random.random() < 0.5
    named = random.randint(1, 3)
    return EdgeWorld(
        lags,
        seed=random.getrandbits(32),
        named=named,
        unnamed=0 if can_all_tell else random.randint(0, 2),
        share=random.choice([0.0, 0.05, 0.3, 0.9]) if can_all_tell else 1.0,
        successes=random.randint(1, 4),
        interval=random.choice([0.1, 1.0, 7.5]),
        deadline=random.choice([40.0, 120.0]),
    )


def draw_untold_world(random: Random) -> EdgeWorld:
    """Return a world in which no probe sees a version, and at least half of the bad answers fail."""
    longest = random.choice([1, 20, 60, 119, 400])
    lags = tuple(random.choice([0.0, 0.0, longest, random.uniform(0, longest)]) for _ in range(random.randint(2, 20)))
    share = random.choice([0.5, 0.5, 0.7, 1.0])
    return EdgeWorld(
        {PLACE: lags, "SYD": (1.0,)}, random.getrandbits(32), named=0, unnamed=random.randint(1, 2), share=share
    )


def prove(edge: EdgeWorld) -> Proof:
    """Break a Worker on this edge, and roll it back with the public command."""
    from sandbox.edge.places import EdgePlaces

    with case_world(None) as world:
        sandbox, now = world.sandbox, world.sandbox.clock.now()
        world.config.write_text(edge.config)
        sandbox.route("till.bakery.example", WORKER)
        sandbox.switches.propagation_seconds = 1.0
        sandbox.edge.places = EdgePlaces(edge.lags, edge.seed)
        versions = []
        for hours, behaviour in ((30, {}), (10, {"status": 500, "share": edge.share})):
            is_named = edge.bad_names_itself if behaviour else edge.good_names_itself
            at = now - timedelta(hours=hours)
            versions.append(sandbox.upload(WORKER, behaviour=behaviour, at=at, version_metadata=is_named))
            sandbox.deploy(WORKER, versions[-1], at=at)
        command = ("rollback-worker", "--service", "till", "--environment", "live", "--json", "--yes", "--config")
        outcome = world.ops(
            *command, str(world.config), "--to", versions[0], BAKERY_TOKEN=sandbox.token, CLOUDFLARE_API_TOKEN=None
        )
        worker, end = sandbox.account.workers[WORKER], sandbox.clock.now()
        behind: dict[str, list[bool]] = {}
        for machine in sandbox.edge.places.all:
            deployment = sandbox.account.served_at(worker, end, machine.lag)
            behind.setdefault(machine.place, []).append(deployment is None or versions[0] not in deployment.percentages)
        answered = list(sandbox.edge.served)[-(edge.named + edge.unnamed) :]
        return Proof(
            outcome.result["decision"],
            (end - worker.history[-1].made_at).total_seconds(),
            tuple(each.version for each in answered),
            {place: sum(rows) / len(rows) for place, rows in behind.items()},
            versions[0],
            tuple(outcome.result["plan"]["warnings"]),
        )
