"""Our own pages about a person; login and password are allauth's."""

from django.urls import path

from accounts.views import activity, preferences

urlpatterns = [
    path("activity/", activity, name="activity"),
    path("preferences/", preferences, name="preferences"),
]
