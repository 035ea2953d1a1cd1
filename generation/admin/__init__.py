"""The operator's door, one file per noun. Operators see states and figures; a look at something private is audited."""

from allauth.account.models import EmailAddress
from django.contrib import admin
from django_q.models import Failure, OrmQ, Schedule, Success

from generation.admin import checkpoints, devices, images, projects, quotas, requests

__all__ = ["checkpoints", "devices", "images", "projects", "quotas", "requests"]

# q2's pages can schedule any Python function, which no operator needs; addresses are changed with the person.
for model in (Failure, OrmQ, Schedule, Success, EmailAddress):
    if admin.site.is_registered(model):
        admin.site.unregister(model)
