"""Projects: the list, a new one, and who is in it."""

import uuid
from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import User
from core.errors import NotAllowedError, TesseraError
from core.models import parse_key
from generation import permissions
from generation.models import Image, Membership, Project
from generation.services import projects as service
from generation.views import PersonRequest

COVERS = 4


@require_safe
@login_required
def index(request: PersonRequest) -> HttpResponse:
    """Mine and those shared with me, the personal one first, each with its last pictures."""
    service.project_personal(request.user)
    projects = list(_with_counts(Project.objects.visible_to(request.user).select_related("owner")))
    covers = _covers(projects)
    cards = [(project, covers[project.pk]) for project in projects]
    return render(request, "generation/project_list.html", {"cards": cards, "covers_max": COVERS})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def create(request: PersonRequest) -> HttpResponse:
    """A new team project; then its members."""
    if request.method != "POST":
        return render(request, "generation/project_form.html")
    name = request.POST.get("name", "")
    try:
        project = service.project_create(user=request.user, name=name)
    except TesseraError as error:
        return render(request, "generation/project_form.html", {"name": name, "error": error}, status=error.status)
    messages.success(request, f"{project} is ready. Add the people who shall see it.")
    return redirect("project_members", pk=project.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def members(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """Who is in. Members see the list; managers change it by one of DEEDS."""
    project = get_object_or_404(Project.objects.visible_to(request.user).select_related("owner"), pk=pk)
    error = None
    if request.method == "POST":
        deed = DEEDS.get(request.POST.get("do", ""))
        try:
            if deed is None:
                raise TesseraError("This page does not know what to do.", hint="Load it again.", code="unknown_deed")
            messages.success(request, deed(request, project))
            return redirect("project_members", pk=pk)
        except NotAllowedError as refusal:
            raise PermissionDenied(str(refusal)) from refusal
        except TesseraError as refusal:
            error = refusal
            project.refresh_from_db(fields=["name"])
    context = {
        "project": project,
        "memberships": project.memberships.select_related("user").order_by("user__email"),
        "roles": Membership.Role.choices,
        "may_manage": permissions.can_manage(request.user, project),
        "typed": request.POST,
        "error": error,
    }
    return render(request, "generation/project_members.html", context, status=error.status if error else 200)


def _add(request: PersonRequest, project: Project) -> str:
    email, role = request.POST.get("email", ""), request.POST.get("role", Membership.Role.VIEWER)
    membership = service.member_add(actor=request.user, project=project, email=email, role=role)
    return f"{membership.user} is now {membership.get_role_display().lower()}."


def _change(request: PersonRequest, project: Project) -> str:
    membership = service.member_role_change(
        actor=request.user, project=project, member=_member(request), role=request.POST.get("role", "")
    )
    return f"{membership.user} is now {membership.get_role_display().lower()}."


def _remove(request: PersonRequest, project: Project) -> str:
    member = _member(request)
    service.member_remove(actor=request.user, project=project, member=member)
    return f"{member} is no longer in this project."


def _rename(request: PersonRequest, project: Project) -> str:
    renamed = service.project_rename(actor=request.user, project=project, name=request.POST.get("name", ""))
    return f"The project is now called {renamed}."


DEEDS: dict[str, Callable[[PersonRequest, Project], str]] = {
    "add": _add,
    "change": _change,
    "remove": _remove,
    "rename": _rename,
}


def _member(request: PersonRequest) -> User:
    key = parse_key(request.POST.get("member"))
    person = User.objects.filter(pk=key).first() if key else None
    if person is None:
        raise TesseraError("This person is not in the project.", hint="Load the page again.", code="not_a_member")
    return person


def _with_counts(projects: QuerySet[Project]) -> QuerySet[Project]:
    """How many pictures and people, and the last pictures; by subqueries that seek (joins would multiply)."""
    pictures = Image.objects.kept().filter(project=OuterRef("pk"))
    counted = pictures.order_by().values("project").annotate(n=Count("pk")).values("n")
    people = Membership.objects.order_by().filter(project=OuterRef("pk")).values("project").annotate(n=Count("pk"))
    newest = pictures.order_by("-created_at", "-pk").values("pk")
    return projects.annotate(
        picture_count=Coalesce(Subquery(counted, output_field=IntegerField()), 0),
        people_count=Coalesce(Subquery(people.values("n"), output_field=IntegerField()), 0) + 1,
        **{f"cover_{place}": Subquery(newest[place : place + 1]) for place in range(COVERS)},
    )


def _covers(projects: list[Project]) -> dict[uuid.UUID, list[Image]]:
    """The last pictures of each project, in one query for all."""
    keys = {project.pk: [getattr(project, f"cover_{place}") for place in range(COVERS)] for project in projects}
    images = Image.objects.in_bulk([key for places in keys.values() for key in places if key])
    return {project: [images[key] for key in places if key in images] for project, places in keys.items()}
