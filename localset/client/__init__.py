"""The Client protocol, its HTTP body, and the informer."""
