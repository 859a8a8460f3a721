"""The ASGI application: web, built-in relay and, in the embedded shape, what runs beside them.

Importing this module sets Django up and refuses to go on where the settings are unsafe (keycast.operations.startup).
"""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keycast.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.urls import reverse  # noqa: E402

from keycast.lifespan import Lifespan, embedded_services, web_services  # noqa: E402
from keycast.operations import probes  # noqa: E402
from keycast.operations.startup import refuse_unsafe_start  # noqa: E402
from keycast.proxies import TrustedProxies  # noqa: E402
from keycast.routing import websocket_router  # noqa: E402
from keycast.serving.guard import Guard  # noqa: E402
from keycast.serving.limits import ConnectionLimits  # noqa: E402

refuse_unsafe_start()

lifespan = Lifespan(embedded_services() if settings.EMBEDDED else web_services())
limits = ConnectionLimits.from_settings()
SECRET_FIELDS = {reverse("keys:import"): ("secret", "password")}
"""By path, the fields of forms that hold a personal key."""
guard = Guard(
    ProtocolTypeRouter({"http": django_application, "websocket": websocket_router(), "lifespan": lifespan}),
    limits,
    # A pasted key, or a file of them, and its password: what is longer costs more than it is worth.
    bounds={reverse("keys:import"): 64 * 1024},
    probes=probes.PATHS,
    secrets=SECRET_FIELDS,
)
application = TrustedProxies(guard, count=settings.TRUSTED_PROXY_COUNT)
