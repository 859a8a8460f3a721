"""Stand-ins for HSMs, for tests and the demo. They protect nothing; production refuses them (keycast.checks)."""
