"""The parts of a page that need more than markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from typing import Any, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django import template
from django.conf import settings
from django.contrib.messages.storage.base import Message
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from backend.console.charts import words
from backend.console.charts.words import percent as percent_words
from backend.console.frame import UNDO, Form
from backend.console.told import SCORES
from protocols.knowledge import safety

register = template.Library()

# Shapes on a square of 16, drawn in the colour of the text around them.
SHAPES = {
    "octagon": "M5 1h6l4 4v6l-4 4H5l-4-4V5z",
    "triangle": "M8 1.5 15.5 14.5H.5z",
    "circle": "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2z",
    "dash": "M2 6.5h12v3H2z",
    "tick": "m2 8.6 1.9-1.9 2.7 2.7 5.6-5.9L14 5.3l-7.4 7.8z",
    "cross": "m3.2 1.8 4.8 4.8 4.8-4.8 1.4 1.4L9.4 8l4.8 4.8-1.4 1.4L8 9.4l-4.8 4.8-1.4-1.4L6.6 8"
    " 1.8 3.2z",
    "search": "M6.5 1a5.5 5.5 0 0 1 4.4 8.8l4 4-1.1 1.1-4-4A5.5 5.5 0 1 1 6.5 1zm0 1.6a3.9 3.9 0"
    " 1 0 0 7.8 3.9 3.9 0 0 0 0-7.8z",
    "clock": "M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zm0 1.6a5.4 5.4 0 1 0 0 10.8A5.4 5.4 0 0 0 8"
    " 2.6zm-.8 2h1.6v3.2l2.4 1.4-.8 1.3-3.2-1.8z",
}
OF_A_TIER = {"urgent": "octagon", "review": "triangle", "watch": "circle", "on_track": "dash"}
TIERS = {"urgent": "Urgent", "review": "Review", "watch": "Watch", "on_track": "On track"}
OF_A_NOTICE = {
    "info": "circle", "ok": "tick", "warning": "triangle", "error": "octagon", "stale": "clock",
}  # fmt: skip
UNITS = ((2 * 24 * 60, "days"), (60, "h"), (1, "min"))  # in minutes
DAYS = {
    "C": ("done", "done"),
    "P": ("part", "done in part"),
    "S": ("left", "skipped"),
    "M": ("missed", "not done"),
    "?": ("unheard", "not heard"),
    "X": ("excused", "excused"),
    "·": ("free", "not due"),
    "-": ("free", "not due"),
}


@register.simple_tag
def symbol(name: str) -> SafeString:
    """A shape. It never stands alone: words beside it say the same."""
    return format_html(
        '<svg class="symbol" viewBox="0 0 16 16" aria-hidden="true" focusable="false">'
        '<path d="{}"/></svg>',
        SHAPES[name],
    )


@register.simple_tag
def tier(name: str, count: object = "") -> SafeString:
    """A badge: shape, word, and how many."""
    number = "" if count == "" else format_html(' <b class="count">{}</b>', count)
    return format_html(
        '<span class="tier tier-{}">{}{}{}</span>',
        name.replace("_", "-"), symbol(OF_A_TIER[name]), TIERS[name], number,
    )  # fmt: skip


@register.simple_tag
def notice_symbol(kind: str) -> SafeString:
    return symbol(OF_A_NOTICE[kind])


@register.simple_tag
def strip(letters: str, label: str = "") -> SafeString:
    """A box a day, oldest first; for ears the days are counted."""
    boxes = format_html_join(
        "", '<span class="day day-{}">{}</span>', ((DAYS[one][0], one) for one in letters)
    )
    counts: dict[str, int] = {}
    for one in letters:
        counts[DAYS[one][1]] = counts.get(DAYS[one][1], 0) + 1
    said = ", ".join(f"{count} {word}" for word, count in counts.items())
    return format_html(
        '<span class="strip" role="img" aria-label="{}">{}</span>',
        f"{label or f'Last {len(letters)} days'}: {said}", boxes,
    )  # fmt: skip


@register.simple_tag
def share(value: float | None, label: str = "") -> SafeString:
    """A bar with its figure; what is not known has neither."""
    if value is None:
        return mark_safe('<span class="unknown">not known</span>')
    percent = round(value * 100)
    return format_html(
        '<span class="share"><progress max="100" value="{0}" aria-label="{1}">{0} %</progress>'
        '<span class="figure">{0}&nbsp;%</span></span>',
        percent, label or "Done",
    )  # fmt: skip


@register.simple_tag
def exact(value: float | Literal[""] | None) -> str:
    """A ratio with every digit that it has; what is absent in a template is an empty text."""
    return "–" if value in (None, "") else words.percent_exact(float(value))


@register.simple_tag
def hours(value: float | Literal[""] | None) -> str:
    return "–" if value in (None, "") else f"{value:g}\u00a0h"


# --- Moments ----------------------------------------------------------------------------------


def _instant(value: datetime | str, zone: str) -> datetime:
    at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    where: tzinfo = ZoneInfo(zone or "UTC")
    return at.astimezone(where)


@register.simple_tag(takes_context=True)
def since(context: Mapping[str, Any], value: datetime | str) -> SafeString:
    """A moment as one says it: the time where it was today, the weekday within six days, else the
    date; exactly so for machines."""
    zone = context.get("zone", "UTC")
    at, now = _instant(value, zone), _instant(context["now"], zone)
    days = (now.date() - at.date()).days
    if days == 0:
        words = f"{at:%H:%M} today"
    elif 0 < days < 7:
        words = f"{at:%a %H:%M}"
    else:
        words = f"{at.day} {at:%b %Y}" if at.year != now.year else f"{at.day} {at:%b}"
    return format_html('<time datetime="{}">{}</time>', at.isoformat(timespec="seconds"), words)


@register.simple_tag(takes_context=True)
def at(context: Mapping[str, Any], value: datetime | str) -> SafeString:
    """A moment in full."""
    when = _instant(value, context.get("zone", "UTC"))
    words = f"{when.day} {when:%b %Y, %H:%M}"
    return format_html('<time datetime="{}">{}</time>', when.isoformat(timespec="seconds"), words)


@register.simple_tag(takes_context=True)
def ago(context: Mapping[str, Any], value: datetime | str) -> SafeString:
    """How long since a moment, in its largest unit."""
    zone = context.get("zone", "UTC")
    at, now = _instant(value, zone), _instant(context["now"], zone)
    minutes = max(0, int((now - at).total_seconds()) // 60)
    words = next(
        (
            f"{minutes // (24 * 60 if name == 'days' else size)} {name} ago"
            for size, name in UNITS
            if minutes >= size
        ),
        "just now",
    )
    return format_html('<time datetime="{}">{}</time>', at.isoformat(timespec="seconds"), words)


@register.simple_tag
def queried(asked: Mapping[str, str], **changes: object) -> str:
    """The query of an address with some of it changed, and without what is changed to nothing."""
    said = {**asked, **changes}
    return urlencode({name: value for name, value in said.items() if value or name not in changes})


# --- What the API says, in words --------------------------------------------------------------


@register.simple_tag
def percent(value: float | None) -> str:
    """A ratio as charts tell it; what is not known is a dash."""
    return "–" if value is None else percent_words(value)


@register.simple_tag
def sign(code: str) -> str:
    """What a flag or a reported sign is about, as the library says it."""
    known = safety().red_flags.get(code)
    return (known.sign or known.ask or code) if known else code


@register.simple_tag
def revision(content: Mapping[str, Any]) -> str:
    """What an upload said, in one line: its scores, its note, how many exercises."""
    parts = [f"{name} {content[key]}" for key, name in SCORES if content.get(key) is not None]
    if entries := content.get("entries"):
        parts.append(f"{len(entries)} exercises")
    if note := content.get("note"):
        parts.append(f"“{note}”")
    return ", ".join(parts) or "nothing more"


# --- Forms ------------------------------------------------------------------------------------


@register.inclusion_tag("console/parts/field.html")
def field(
    form: Form,
    name: str,
    label: str,
    kind: str = "text",
    help: str = "",
    options: Iterable[tuple[str, str]] = (),
    **attributes: object,
) -> dict[str, object]:
    """One field. `kind`: text, number, date, time, email, search, password, hidden, textarea,
    select, radio, checkbox, or checks (several of `options`). Attributes are written with `_` for
    `-`; `required` and `optional` say it in words, too."""
    is_required = bool(attributes.pop("required", False))
    chosen = form.chosen(name)
    return {
        "name": name,
        "id": id_of(name),
        "label": label,
        "kind": kind,
        "help": help,
        "value": form.value(name),
        "options": [(str(value), words, str(value) in chosen) for value, words in options],
        "error": form.error(name),
        "required": is_required,
        "optional": bool(attributes.pop("optional", False)),
        "attributes": format_html_join(
            "", ' {}="{}"', ((key.replace("_", "-"), value) for key, value in attributes.items())
        ),
    }


@register.filter
def id_of(name: str) -> str:
    """Of the field with this name."""
    return "f-" + name.replace("/", "-")


@register.inclusion_tag("console/parts/errors.html")
def errors(form: Form) -> dict[str, object]:
    """What was refused, each with a link to its field. It takes the focus."""
    return {
        "problem": form.problem,
        "errors": [(id_of(name) if name else "", error) for name, error in form.errors()],
    }


@register.filter
def undo_of(message: Message) -> str:
    """The address that takes back what a message tells of."""
    tags = (message.extra_tags or "").split()
    return next((tag.removeprefix(UNDO) for tag in tags if tag.startswith(UNDO)), "")


@register.simple_tag
def idle_minutes() -> int:
    return int(settings.CONSOLE_IDLE_MINUTES)


@register.simple_tag
def initials(person: object) -> SafeString:
    """Initials of somebody, for the circle beside the name."""
    names = [getattr(person, "given_name", ""), getattr(person, "family_name", "")]
    return format_html("{}", "".join(name[:1] for name in names).upper())
