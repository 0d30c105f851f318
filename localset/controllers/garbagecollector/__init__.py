"""Dependents go after their owners, or are set free."""
