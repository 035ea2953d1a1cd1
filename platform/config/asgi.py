"""The ASGI application: pages over HTTP, the studio's socket."""

import os

import django
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

os.umask(0o077)  # pictures and uploads are for this user alone, also when another server than ours starts this
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)

from channels.auth import AuthMiddlewareStack  # noqa: E402 needs the apps to be ready

from core.pages import PageHandler  # noqa: E402 needs the apps to be ready
from generation.routing import websocket_urlpatterns  # noqa: E402 needs the apps to be ready

application = ProtocolTypeRouter(
    {
        "http": PageHandler(),
        # The origin check is the only CSRF defence of a socket that is opened with a cookie.
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
