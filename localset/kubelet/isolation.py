"""Which level of isolation this machine allows (design 3.7): really tried, by the keeper, in a child that ends.

The daemon asks once at start; `localset doctor` shows the reasons. The daemon itself never forks or unshares.
"""

from localset.base.frozen import frozen
from localset.kubelet.keeper_runtime import KeeperRuntime
from localset.kubelet.runtime import Isolation


@frozen
class IsolationCheck:
    """The best level that works here; `reasons` says, for each level above it, why that one does not."""

    level: Isolation
    reasons: tuple[str, ...] = ()


async def probe_isolation(runtime: KeeperRuntime) -> IsolationCheck:
    """Return the best level; `runtime` is started. Takes some milliseconds and leaves nothing behind."""
    works, reason = await runtime.check_isolation()
    if works:
        return IsolationCheck(Isolation.LOOPBACK)
    return IsolationCheck(Isolation.PLAIN, (f"loopback: {reason}",))
