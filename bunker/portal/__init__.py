"""The portal's pages about connected apps."""
