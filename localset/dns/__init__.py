"""Objects to DNS answers: zone (pure), server, wire (the only file that speaks dnslib)."""
