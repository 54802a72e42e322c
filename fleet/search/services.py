"""Saved views: kept, shared, thrown away."""

import re
from urllib.parse import parse_qsl, urlencode, urlsplit

from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import Resolver404, resolve

from fleet import text
from fleet.errors import Refused
from fleet.search.language import parse
from fleet.search.models import SavedView
from fleet.search.words import one_line

#: More than this nobody finds his way in.
MOST = 50
#: A section's own page, and that of one of its things: `devices`, `devices.detail`.
_PAGE = re.compile(r"[a-z]+(\.(detail|version))?\Z")
#: These are called like pages, and are none that one comes back to.
_NO_PAGES = frozenset({"login", "logout", "live", "find", "export", "account"})


def views_for(user) -> QuerySet[SavedView]:
    """One's own and those that others share."""
    return SavedView.objects.filter(Q(owner=user) | Q(shared=True)).select_related("owner")


@transaction.atomic
def save_view(name: str, address: str, shared: bool, by) -> SavedView:
    """Keep an address under a name; the same name again replaces it. Raises Refused, of a search SearchError."""
    name = text.line(name, "A view's name", 64, "Give the view a name.")
    address = checked(address)
    if by.views.exclude(name=name).count() >= MOST:
        raise Refused(f"A person keeps at most {MOST} views; delete one first.")
    made, _ = SavedView.objects.update_or_create(owner=by, name=name, defaults={"address": address, "shared": shared})
    return made


def checked(address: str) -> str:
    """The address of one of our pages, as it is kept: without the page of a list, which holds others tomorrow."""
    parts = urlsplit(text.line(address, "An address", 2000))
    try:
        found = resolve(parts.path) if not parts.scheme and not parts.netloc else None
    except Resolver404:
        found = None
    name = found.url_name or "" if found else ""
    if not _PAGE.match(name) or name in _NO_PAGES:
        raise Refused(f"{parts.path[:80] or 'That'} is no page that can be kept.")
    state = {key: value for key, value in parse_qsl(parts.query) if key not in ("page", "before")}
    if name == "devices" and "q" in state:
        state["q"] = one_line(state["q"])
        parse(state["q"])
    made = f"{parts.path}?{urlencode(state)}" if state else parts.path
    if len(made) > 1000:
        raise Refused(f"The address has {len(made):,} characters; 1,000 can be kept.")
    return made


def delete_view(kept: SavedView, by, is_admin: bool) -> None:
    """One's own; an admin may also clear away what others share."""
    if kept.owner_id != by.pk and not (is_admin and kept.shared):
        raise Refused(f"The view {kept.name} belongs to {kept.owner.username}.")
    kept.delete()
