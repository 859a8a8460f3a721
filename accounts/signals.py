"""What this app tells the apps above it, sent inside the transaction that made the change.

Each is sent as ``signal.send(sender=Model, object_id=<primary key>)``: the bunker writes a row of its own about it
in the same transaction, so a lock or a suspension takes effect on every worker even if no hint arrives.
"""

from __future__ import annotations

from django.dispatch import Signal

#: A tenant's state, host names or settings changed; ``object_id`` is its UUID.
tenant_changed = Signal()
#: A user was locked, unlocked, deactivated or reactivated; ``object_id`` is their UUID.
user_changed = Signal()
#: Signing on the whole deployment was locked or unlocked (accounts.panic); no object.
deployment_changed = Signal()
#: A membership was made, suspended, resumed, ended or given another role; ``object_id`` is the user's UUID,
#: and ``tenant_id`` comes with it.
membership_changed = Signal()
