"""Restoring: what a restored database has to forget again, and a rehearsal of it all on a copy."""
