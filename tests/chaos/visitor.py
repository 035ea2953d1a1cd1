"""A person at a browser: logged in, and sends the studio's form. Through the portal's web process and its clock."""

import secrets
import urllib.parse
import urllib.request

from django.conf import settings
from django.test import Client

from accounts.models import User
from generation.models import Checkpoint, Project
from tests.portal import direct


class Visitor:
    """One person's session at one portal."""

    def __init__(self, url: str, person: User) -> None:
        client = Client()
        client.force_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
        self._token = secrets.token_hex(16)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        self._cookie = f"{settings.SESSION_COOKIE_NAME}={session}; {settings.CSRF_COOKIE_NAME}={self._token}"
        self._url = url

    def ask(self, project: Project, checkpoint: Checkpoint, prompt: str) -> int:
        """Send the form; the status of the answer. Raises OSError when nobody answers."""
        form = {
            "csrfmiddlewaretoken": self._token,
            "prompt": prompt,
            "checkpoint": checkpoint.name,
            "project": str(project.pk),
            "size": "32x32",
            "count": "2",
        }
        headers = {"Cookie": self._cookie, "HX-Request": "true"}
        request = urllib.request.Request(
            f"{self._url}/requests/new/", urllib.parse.urlencode(form).encode(), headers, method="POST"
        )
        with direct.open(request, timeout=20) as answer:
            return int(answer.status)
