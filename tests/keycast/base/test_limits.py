"""Settings that override single bounds: what is no bound, or no number, is told with the setting's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from bunker.relays.limits import BuiltInLimits
from bunker.worker.admission import AdmissionLimits
from keycast.base.limits import overridden
from keycast.serving.limits import ConnectionLimits


@dataclass(frozen=True)
class Two:
    places: int = 3
    seconds: float = 1.0


@pytest.mark.parametrize(
    "given",
    [{"place": "4"}, {"places": "many"}, {"places": "1.5"}, {"places": "-1"}, {"places": "0"}, {"seconds": "0"}],
)
def test_what_is_no_limit_is_refused_with_the_settings_name(given: dict[str, str]) -> None:
    with pytest.raises(ImproperlyConfigured, match="KEYCAST_SOME_LIMITS"):
        overridden(Two(), given, "KEYCAST_SOME_LIMITS")


def test_single_limits_are_overridden_with_the_type_that_they_have() -> None:
    assert overridden(Two(), {"places": "4", "seconds": "2"}, "S") == Two(4, 2.0)
    assert overridden(Two(), {"seconds": "0"}, "S", zero=("seconds",)).seconds == 0
    assert overridden(Two(), {}, "S") == Two()


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (BuiltInLimits, "RELAY_LIMITS"),
        (AdmissionLimits, "BUNKER_LIMITS"),
        (ConnectionLimits, "CONNECTION_LIMITS"),
    ],
)
def test_every_setting_of_limits_is_read_so(limits: Any, name: str, settings: Any) -> None:
    setattr(settings, name, {"conections": "5"})
    with pytest.raises(ImproperlyConfigured, match=f"KEYCAST_{name}: conections=5"):
        limits.from_settings()
