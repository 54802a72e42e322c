"""Channels: who is told of alerts outside of the pages."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from fleet.accounts.roles import Role, requires
from fleet.alerts import channels, tasks
from fleet.alerts.models import Channel
from fleet.dashboard.forms.alerts import ChannelForm
from fleet.dashboard.pages import Lazy, act, go, page, saved
from fleet.dashboard.selectors import alerts as select


@require_GET
@requires(Role.ADMIN)
def everything(request: HttpRequest) -> HttpResponse:
    context = {
        "lazy": Lazy(channels=select.channels, deliveries=select.deliveries),
        "mail_server": settings.EMAIL_HOST,
        "address": settings.ADDRESS,
    }
    return page(request, "alerts/channels.html", context, {"channel-list": "alerts/channel_list.html"})


@require_http_methods(["GET", "POST"])
@requires(Role.ADMIN)
def new(request: HttpRequest) -> HttpResponse:
    form = ChannelForm(request.POST or None)
    made: list[Channel] = []

    def make() -> None:
        made.append(channels.create(request.user, **form.cleaned_data))

    if request.method == "POST" and saved(form, make):
        return go(request, "alerts.channels.detail", made[0].pk)
    return _form(request, form, None)


@require_http_methods(["GET", "POST"])
@requires(Role.ADMIN)
def detail(request: HttpRequest, channel_id: int) -> HttpResponse:
    channel = get_object_or_404(Channel, pk=channel_id)
    initial = {name: getattr(channel, name) for name in channels.FIELDS}
    form = ChannelForm(request.POST or None, initial=initial, channel=channel)
    if request.method == "POST" and saved(form, lambda: channels.update(channel, request.user, **form.cleaned_data)):
        return go(request, "alerts.channels")
    return _form(request, form, channel)


def _form(request: HttpRequest, form: ChannelForm, channel: Channel | None) -> HttpResponse:
    response = page(
        request, "alerts/channel.html", {"form": form, "channel": channel}, status=422 if form.is_bound else 200
    )
    response.headers["Cache-Control"] = "no-store"  # it has the secret
    return response


@require_POST
@requires(Role.ADMIN)
def test(request: HttpRequest, channel_id: int) -> HttpResponse:
    channel = get_object_or_404(Channel, pk=channel_id)

    def sent() -> str:
        channels.test(channel, request.user)
        tasks.deliver.delay()
        return gettext("A test is on its way to {channel}; the list says what becomes of it.").format(
            channel=channel.name
        )

    act(request, sent)
    return go(request, "alerts.channels")


@require_POST
@requires(Role.ADMIN)
def renew(request: HttpRequest, channel_id: int) -> HttpResponse:
    channel = get_object_or_404(Channel, pk=channel_id)

    def renewed() -> str:
        channels.renew_secret(channel, request.user)
        return gettext("{channel} has another secret; give it to the receiver.").format(channel=channel.name)

    act(request, renewed)
    return go(request, "alerts.channels.detail", channel.pk)


@require_POST
@requires(Role.ADMIN)
def delete(request: HttpRequest, channel_id: int) -> HttpResponse:
    channel = get_object_or_404(Channel, pk=channel_id)

    def gone() -> str:
        name = channel.name
        channels.delete(channel, request.user)
        return gettext("{name} is told no more.").format(name=name)

    act(request, gone)
    return go(request, "alerts.channels")
