"""The pages of this app in the staff admin. It has no models there."""

from __future__ import annotations

from keycast.operations import pages  # noqa: F401  (registers the pages)
