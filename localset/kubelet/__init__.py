"""Pods to processes: a worker per Pod, probes, volumes, environment, images, logs, addresses."""
