"""Signer B of split keys: a process of its own that trusts nobody, and what talks to it."""
