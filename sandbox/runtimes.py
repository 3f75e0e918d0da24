"""Which runtime stands behind the edge."""

from typing import Literal

from sandbox.clock import Clock
from sandbox.contract import Contract
from sandbox.edge import Runtime
from sandbox.embedded import Embedded
from sandbox.kv import Kv
from sandbox.providers import Providers

Name = Literal["embedded", "workerd"]


def runtime(name: Name, clock: Clock, kv: Kv, providers: Providers, contract: Contract) -> Runtime:
    """Whoever wants none of Node loads none of it."""
    if name == "embedded":
        return Embedded(providers.takes, clock, contract)
    from sandbox.workerd import Workerd

    return Workerd(clock, kv, providers)
