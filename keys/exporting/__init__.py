"""Keys that leave: asked for by their owners, waited for, and given out once under a password (NIP-49)."""
