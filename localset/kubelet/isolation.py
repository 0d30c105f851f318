"""Which level of isolation this machine allows (design 3.7): really tried, by the keeper, in children that end.

The daemon asks once at start; `localset doctor` shows the reasons. The daemon itself never forks or unshares.
"""

from localset.base.frozen import frozen
from localset.kubelet.keeper_runtime import KeeperRuntime
from localset.kubelet.runtime import Isolation

_FROM_THE_BEST = (Isolation.NAMESPACES, Isolation.LOOPBACK)


@frozen
class IsolationCheck:
    """The best level that works here; `reasons` says, for each level above it, why that one does not."""

    level: Isolation
    reasons: tuple[str, ...] = ()

    def allows(self, wanted: Isolation) -> bool:
        """Tell whether `wanted` works here: the levels only add."""
        order = [Isolation.PLAIN, Isolation.LOOPBACK, Isolation.NAMESPACES]
        return order.index(wanted) <= order.index(self.level)


async def probe_isolation(runtime: KeeperRuntime) -> IsolationCheck:
    """Return the best level; `runtime` is started. Takes some milliseconds and leaves nothing behind."""
    problems = await runtime.check_isolation()
    reasons: list[str] = []
    for level in _FROM_THE_BEST:
        if not problems[level]:
            return IsolationCheck(level, tuple(reasons))
        reasons.append(f"{level}: {problems[level]}")
    return IsolationCheck(Isolation.PLAIN, tuple(reasons))
