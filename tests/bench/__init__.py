"""``make bench``: how fast the bunker signs, and what that costs beside the bare primitives."""
