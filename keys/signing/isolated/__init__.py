"""The signing service in a process of its own (``manage.py signer``), and how every other process asks it."""
