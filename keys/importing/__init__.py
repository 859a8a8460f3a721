"""Bulk import of keys from JSON lines; the command import_keys is its face."""
