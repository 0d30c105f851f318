"""Endpoints of Services: which Pods stand behind a name."""
