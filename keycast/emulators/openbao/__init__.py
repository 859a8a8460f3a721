"""OpenBao's transit engine for tests: its HTTP API as far as Keycast calls it, keys in memory. Protects nothing."""
