"""Several processes at the same rollout at the same moment. On PostgreSQL: SQLite lets one write at a time."""

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import connection, connections, transaction

from agent.wire import topics
from agent.wire.states import DEPLOYMENT_IN_FLIGHT
from fleet.audit.models import Event
from fleet.errors import Refused
from fleet.gateway.models import Outbox
from fleet.rollouts import services, tasks
from fleet.rollouts.models import Deployment, Transition
from fleet.trust import services as trust
from tests.fleet.builders import make_release, make_version
from tests.fleet.rollouts.ten import CANARY, counts, ends
from tests.fleet.rollouts.test_rollout import says

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def several_writers():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite lets one write at a time; test_postgresql runs these on PostgreSQL")
    trust.ensure()  # as at the first start


def at_once(*orders: Callable[[], object]) -> list[Exception]:
    """Each in a thread with a connection of its own, begun at the same moment; what was raised."""
    ready, raised = threading.Barrier(len(orders)), []

    def run(order: Callable[[], object]) -> None:
        try:
            ready.wait(10)
            order()
        except Exception as problem:
            raised.append(problem)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(order,)) for order in orders]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
        assert not each.is_alive()
    return raised


def told(group) -> Counter[str]:
    """Desired states on their way, by device."""
    ids = group.devices.values_list("pk", flat=True)
    wanted = {topics.down(pk, "desired") for pk in ids}
    return Counter(topic for topic in Outbox.objects.values_list("topic", flat=True) if topic in wanted)


@pytest.mark.parametrize("attempt", range(3))
def test_many_ticks_open_a_phase_once_and_tell_each_device_once(release, group, operator, attempt):
    rollout = services.start(release, operator, group=group, phases=CANARY)
    with transaction.atomic():
        ends(rollout)
    assert at_once(*[tasks.tick.run] * 4) == []
    assert counts(rollout) == {"active": 1, "notified": 9}
    assert set(told(group).values()) == {1}
    assert Event.objects.filter(kind="rollout.phase").count() == 1
    assert Transition.objects.filter(new="notified").count() == 10


@pytest.mark.parametrize("attempt", range(3))
def test_a_cancel_and_ticks_leave_nobody_waiting(release, group, operator, attempt):
    rollout = services.start(release, operator, group=group, phases=CANARY)
    with transaction.atomic():
        ends(rollout)
    raised = at_once(tasks.tick.run, lambda: services.cancel(rollout, operator), tasks.tick.run)
    assert raised == []
    rollout.refresh_from_db()
    assert (rollout.state, counts(rollout)) == ("aborted", {"active": 1, "canceled": 9})
    assert set(group.devices.values_list("desired_deployment", flat=True)) <= {
        "",
        rollout.deployments.get(state="active").pk,
    }


@pytest.mark.parametrize("attempt", range(3))
def test_a_report_and_a_cancel_agree_on_one_end(release, group, operator, attempt):
    rollout = services.start(release, operator, group=group)
    rows = list(rollout.deployments.select_related("device"))
    orders = [lambda row=row: transaction.atomic(says)(row.device, row, "active", 9) for row in rows[:4]]
    assert at_once(lambda: services.cancel(rollout, operator), *orders) == []
    for row in rollout.deployments.all():
        assert row.state in {"active", "canceled"}
        last = row.transitions.last()
        assert last.new == row.state, "what was stored of it is what it is"
        assert row.transitions.filter(new__in=["active", "canceled"]).count() == 1


@pytest.mark.parametrize("attempt", range(3))
def test_two_rollouts_to_the_same_devices_give_each_of_them_one(group, operator, attempt):
    one, other = make_release(make_version(number=1)), make_release(make_version(number=2))
    orders = [
        lambda release=release: services.start(release, operator, group=group, back=True) for release in (one, other)
    ]
    assert [each for each in at_once(*orders) if not isinstance(each, Refused)] == []
    tasks.tick()
    for device in group.devices.all():
        states = Counter(device.deployments.values_list("state", flat=True))
        assert sum(states[state] for state in DEPLOYMENT_IN_FLIGHT) == 1, states
        device.refresh_from_db()
        assert Deployment.objects.get(pk=device.desired_deployment).state in DEPLOYMENT_IN_FLIGHT
