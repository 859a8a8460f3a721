"""Keys in a token behind PKCS#11 (OASIS, v2.40 or later): SoftHSM2, YubiHSM2, Luna, nShield, CloudHSM and others.

A token signs ECDSA over secp256k1, so its keys authorise what the halves of a split key sign (keys.signing.cosigned).
Every person's key is a key pair of its own that was made in the token: sensitive, not extractable, for signing alone.

- ``library``: the vendor's module, loaded once a process. ``token``: login, sessions, handles.
- ``thread``: the one thread of a process that calls the module; ``client``: how everything else has it do something.
- ``keypairs``: what a key pair has to be, and what is found under a name.

Python's library is optional (requirements/pkcs11.txt): every file here can be imported without it.
"""
