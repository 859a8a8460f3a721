"""Keys in a Nitrokey NetHSM (3.0 or later), which signs as BIP-340 says: they never exist outside the device.

Each tenant has a namespace of its own in the device. The least that NetHSM's roles allow is asked for each step:

- The R-Administrator (``KEYCAST_NETHSM_ADMIN_USER``) makes a tenant's namespace and its first user, once. From then on
  the device itself keeps it from the keys and users in there; what it can still do is delete the namespace whole.
- ``<namespace>~admin``, an Administrator, makes the Operator, and makes and deletes keys. It cannot sign.
- ``<namespace>~<KEYCAST_NETHSM_OPERATOR_USER>``, an Operator, reads public keys and signs. It cannot make or delete.

The passphrases of the namespaces' users are derived per namespace (keys.hsm.nethsm.access) and stored nowhere. A
process that only signs needs the operator's password alone; without the R-Administrator's, no tenants can be added.
"""
