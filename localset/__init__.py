"""Kubernetes StatefulSets as real operating-system processes on one machine.

The rooms and the direction of imports are described in docs/architecture.md and held by `.importlinter`.
"""

__version__ = "0.1.0"
