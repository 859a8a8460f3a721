"""A NetHSM for tests and the demo: its published HTTP API over TLS, as far as Keycast calls it, keys in memory."""
