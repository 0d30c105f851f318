"""Clock, tasks, work queue, files, log: no Kubernetes noun."""
