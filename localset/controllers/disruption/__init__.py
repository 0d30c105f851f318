"""PodDisruptionBudgets' status: `plan` counts (pure), `controller` writes. Evicting is the registry's business."""
