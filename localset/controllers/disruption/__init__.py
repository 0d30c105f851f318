"""Disruption budgets: how many Pods may be evicted now."""
