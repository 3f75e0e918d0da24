"""Which runtime stands behind the edge."""

from typing import Literal

from ops.sandbox.clock import Clock
from ops.sandbox.contract import Contract
from ops.sandbox.edge import Runtime
from ops.sandbox.embedded import Embedded
from ops.sandbox.kv import Kv
from ops.sandbox.providers import Providers

Name = Literal["embedded", "workerd"]


def runtime(name: Name, clock: Clock, kv: Kv, providers: Providers, contract: Contract) -> Runtime:
    """Whoever wants none of Node loads none of it."""
    if name == "embedded":
        return Embedded(providers.takes, clock, contract)
    from ops.sandbox.workerd import Workerd

    return Workerd(clock, kv, providers)
