"""From an encrypted key to a split one that Cloud KMS authorises; the public key stays. Never the other way.

::

    signer A                                        elsewhere
    split: both halves sealed, HSM key named
                            -- create -->           Cloud KMS makes the key of that name (it may take minutes)
    made: its version and public key on disk
                            -- adopt half B -->     the co-signer keeps it under a key of its own
    adopted: half B is wiped here
                            -- register -->         the co-signer knows whose authorisations hold
                            -- sign once -->        a signature of the new way that verifies under the same public key
    (switched: the row is a split key's, the sealed whole is wiped; the conversion is forgotten)

    cancelled               -- end half B -->       the co-signer destroys it: at once, or after its delay if it signed
                            -- destroy -->          the HSM key's versions
    (failed, with its reason, or forgotten)

Every step is on disk before the next begins, and may be repeated. The key signs in its old way until the switch, which
is one transaction; so it is usable wherever a process dies. One process at a time works on a conversion.
"""
