"""kube-proxy's room: which addresses lead to which Pods, told to the forwarder."""
