"""Keys in the transit engine of OpenBao 2, or of HashiCorp Vault, over its HTTP API.

Transit has no secp256k1: its keys are on P-256 (keycast.crypto.authoriser_keys), and authorise what the halves of a
split key sign. It keeps keys sealed in its own storage: it is a service apart from Keycast rather than an HSM.
"""
