"""Which runtime stands behind the edge."""

from typing import Literal

from sandbox.clock import Clock
from sandbox.cloudflare.kv.state import Kv
from sandbox.edge.ai_providers import Providers
from sandbox.edge.embedded import Embedded
from sandbox.edge.front_door import Runtime
from sandbox.edge.runtime_contract import Contract

Name = Literal["embedded", "workerd"]


def runtime(name: Name, clock: Clock, kv: Kv, providers: Providers, contract: Contract) -> Runtime:
    """Whoever wants none of Node loads none of it."""
    if name == "embedded":
        return Embedded(providers.takes, clock, contract)
    from sandbox.edge.workerd import Workerd

    return Workerd(clock, kv, providers)
