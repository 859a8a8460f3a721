"""Input that nobody meant, for all that reads what strangers, databases and other processes write.

``python -m tests.fuzz --seconds 3600`` looks for new inputs and keeps those that reach lines that none did before. What
it kept is in ``corpus/`` and is run again, with some mutations of each, by the tests.
"""
