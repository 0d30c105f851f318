"""The crash-surviving parent of all processes. Standard library only; imports nothing of ours."""
