"""Wires the house: settings, data directory, start, stop."""
