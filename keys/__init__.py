"""Custody of personal keys."""

SHARDS = 64
"""Into how many parts signers are divided among bunker workers (TransportKey.shard, bunker.worker.leases)."""
