"""Google Cloud KMS: a user's own HSM key authorises each signature (docs/security-model.md)."""
