"""The portal's pages about keys."""
