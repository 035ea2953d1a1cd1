"""/healthz (the process answers) and /readyz (every probe that an app registered says yes)."""

from collections.abc import Callable

from django.http import HttpRequest, JsonResponse

Probe = Callable[[], str | None]
_probes: dict[str, Probe] = {}


def register_probe(name: str, probe: Probe) -> None:
    """`probe` returns None when all is well, else a short reason. Called from AppConfig.ready."""
    _probes[name] = probe


def probe_all() -> dict[str, str | None]:
    """Every probe's answer."""
    return {name: probe() for name, probe in _probes.items()}


def healthz(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers."""
    return JsonResponse({"status": "alive"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when everything works, else 503. Says which part does not, but not why: nobody is logged in here."""
    answers = {name: reason is None for name, reason in probe_all().items()}
    ready = all(answers.values())
    return JsonResponse({"status": "ready" if ready else "not ready", "parts": answers}, status=200 if ready else 503)
