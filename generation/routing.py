"""The socket's URL table."""

from django.urls import URLPattern

websocket_urlpatterns: list[URLPattern] = []
