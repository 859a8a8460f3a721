"""Compares what HSMs hold with what the database names: looks, says, and changes nothing by itself.

::

    listing.py   what an HSM can be asked: its keys a page at a time, one key with its versions
    compare.py   a row and what the HSM holds of it, in findings; no I/O
    runs.py      an inventory: begun once, made in steps that may be killed, its result kept
    orphans.py   keys that no row names, and what people decide about them
"""
