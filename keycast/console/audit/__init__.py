"""The audit log in the staff admin: browsing, verification, taking it out."""
