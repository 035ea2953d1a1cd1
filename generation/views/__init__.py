"""Pages and media of the workshop, one file per noun. Doors only: they ask permissions and call services."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import User


class PersonRequest(HttpRequest):
    """What a view behind login_required gets: somebody is logged in, and htmx's headers are read."""

    user: User
    htmx: HtmxDetails
