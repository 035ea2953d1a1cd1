"""The socket's URL table."""

from django.urls import URLPattern, path

from generation.consumers import StudioConsumer

websocket_urlpatterns: list[URLPattern] = [path("ws/studio/", StudioConsumer.as_asgi())]
