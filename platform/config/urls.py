"""The root URL table."""

from django.contrib import admin
from django.urls import include, path

from core.health import healthz, readyz

handler400 = "core.trouble.bad_request"
handler500 = "core.trouble.server_error"
urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("admin/", admin.site.urls),
    path("accounts/", include("accounts.urls")),
    path("accounts/", include("allauth.urls")),
    path("", include("generation.urls")),
]
