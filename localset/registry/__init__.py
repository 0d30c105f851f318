"""Default, admit, validate, store: the only writer of the store, and itself a Client."""
