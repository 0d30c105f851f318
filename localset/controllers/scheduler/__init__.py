"""Pods to Nodes: at once by default, by a cluster's rules when strict."""
