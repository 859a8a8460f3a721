"""Locks above keys: a person, a tenant, the whole deployment. Anybody in charge locks alone; two persons unlock."""
