"""A Google Cloud KMS for tests and the demo: the genuine protocol over gRPC, keys in the memory of this process."""
