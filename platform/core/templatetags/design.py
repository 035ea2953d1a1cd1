"""Tags of the design: icons from the sprite, the current page's mark. Knows no app."""

from django import template
from django.template.context import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """A decorative icon; the words beside it (or an aria-label) carry the meaning."""
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>', static("core/icons.svg"), name
    )


@register.simple_tag(takes_context=True)
def current(context: Context, *prefixes: str) -> SafeString:
    """aria-current for the navigation entry whose page is open: an exact "/", else any path that starts so."""
    request = context.get("request")
    path = request.path if request else ""
    here = any(path == prefix or (prefix != "/" and path.startswith(prefix)) for prefix in prefixes)
    return format_html('aria-current="{}"', "page") if here else SafeString("")


@register.filter
def initials(name: object) -> str:
    """One or two letters that stand for a person."""
    words = str(name).split("@")[0].replace(".", " ").split()
    return "".join(word[0] for word in words[:2]) or "?"


@register.filter
def span(seconds: float | None) -> str:
    """4.2 -> "4 s", 75 -> "1 min 15 s": how long something takes, in words."""
    if seconds is None:
        return "not measured yet"
    if seconds < 1:
        return "under 1 s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
