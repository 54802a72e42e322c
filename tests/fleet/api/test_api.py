"""A program does everything that the pages do, as far as its owner's role goes."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from fleet.accounts.roles import Role
from fleet.api.routes import api
from fleet.audit.models import Event
from fleet.catalog.models import Trial
from fleet.devices.models import Device, Group
from fleet.gateway import limits
from fleet.jobs.models import Job
from fleet.jobs.services import start_optimization
from fleet.rollouts.models import Rollout
from tests.conftest import make_device
from tests.fleet.builders import make_release, make_variant, make_version

pytestmark = pytest.mark.django_db


def operations():
    """(method, path with its parameters filled in) of every operation in the OpenAPI document."""
    filled = {"device_id": "d-none", "command_id": "c-none", "token_id": "t-none", "name": "none"}
    for path, methods in api.get_openapi_schema()["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    path = path.replace("{" + parameter["name"] + "}", filled.get(parameter["name"], "999999"))
            yield method.upper(), path


#: It only reads, and what it is asked does not fit into an address.
READS = ("/api/plan",)
WRITES_FOR_ADMINS = ("/enrollment-tokens", "/api/devices/d-none")


@pytest.mark.parametrize(("method", "path"), list(operations()), ids=lambda v: v)
def test_no_operation_is_open_to_strangers_and_none_that_writes_to_viewers(client, people, bearer, method, path):
    assert client.generic(method, path).status_code == 401
    assert client.generic(method, path, HTTP_AUTHORIZATION="Bearer eft_wrong").status_code == 401
    answer = client.generic(method, path, b"{}", "application/json", **bearer(people[Role.VIEWER]))
    if path in READS:
        assert answer.status_code == 200
    elif method != "GET":
        assert answer.status_code == 403, answer.content
    else:
        admins = "enrollment" in path or path == "/api/alert-channels"
        assert answer.status_code in (200, 404) or admins


def test_only_admins_make_enrollment_tokens_and_retire_devices(client, people, bearer, device):
    body = json.dumps({"name": "boards", "max_uses": 5})
    for role, status in ((Role.OPERATOR, 403), (Role.ADMIN, 201)):
        answer = client.post("/api/enrollment-tokens", body, "application/json", **bearer(people[role]))
        assert answer.status_code == status
    assert "." in answer.json()["token"]
    assert client.delete(f"/api/devices/{device.pk}", **bearer(people[Role.OPERATOR])).status_code == 403
    assert client.delete(f"/api/devices/{device.pk}", **bearer(people[Role.ADMIN])).status_code == 204


def test_a_session_needs_the_csrf_token(people, device):
    from django.test import Client

    browser = Client(enforce_csrf_checks=True)
    browser.force_login(people[Role.OPERATOR])
    assert browser.get("/api/devices").status_code == 200
    assert browser.post(f"/api/devices/{device.pk}/reoptimize").status_code == 403


@pytest.mark.parametrize("count", [3, 60])
def test_the_device_list_costs_the_same_however_long(client, operator, bearer, count, django_assert_max_num_queries):
    for _ in range(count):
        make_device()
    headers = bearer(operator)
    with django_assert_max_num_queries(6):
        answer = client.get("/api/devices?limit=50", **headers)
    assert answer.json()["count"] == count
    assert len(answer.json()["items"]) == min(count, 50)


def test_filters_narrow_the_list(client, operator, bearer):
    make_device(name="arm-1")
    make_device(name="cart-1", device_class="mobile")
    headers = bearer(operator)
    names = lambda query: [d["name"] for d in client.get(f"/api/devices?{query}", **headers).json()["items"]]  # noqa: E731  # short, and used three times
    assert names("search=ARM") == ["arm-1"]
    assert names("device_class=mobile") == ["cart-1"]
    assert names("live=never") == ["arm-1", "cart-1"]
    assert client.get("/api/devices?live=maybe", **headers).status_code == 422


def test_a_device_is_renamed_configured_and_what_is_wrong_is_said(client, operator, bearer, device):
    headers = bearer(operator)
    change = {"name": "<script>alert(1)</script>", "config": {"telemetry_interval": 10}}
    answer = client.patch(f"/api/devices/{device.pk}", json.dumps(change), "application/json", **headers)
    assert answer.json()["config"]["telemetry_interval"] == 10
    assert answer.json()["name"] == "<script>alert(1)</script>"
    for wrong in ({"config": {"telemetry_interval": -1}}, {"config": {"colour": "red"}}, {"name": " "}):
        answer = client.patch(f"/api/devices/{device.pk}", json.dumps(wrong), "application/json", **headers)
        assert answer.status_code == 409, wrong
        assert answer.json()["detail"].endswith(".")


def test_a_release_that_nothing_has_proven_has_to_be_confirmed(client, operator, bearer):
    headers = bearer(operator)
    version = make_version(evaluation="")
    make_variant(version, "embedded")
    address = f"/api/versions/{version.pk}/releases"
    refused = client.post(address, b"{}", "application/json", **headers)
    assert refused.status_code == 409
    assert "neither an evaluation set nor an evaluator" in refused.json()["detail"]
    assert client.post(address, b'{"confirmed": true}', "application/json", **headers).status_code == 201


def test_an_evaluator_that_had_no_card_to_run_with_proves_nothing(client, operator, bearer):
    version = make_version(evaluation="")
    version.evaluator, version.card = "tabletop", {}
    version.save()
    make_variant(version, "embedded")
    address = f"/api/versions/{version.pk}/releases"
    refused = client.post(address, b"{}", "application/json", **bearer(operator))
    assert "an evaluator with a policy card" in refused.json()["detail"]


def test_a_release_is_made_and_rolled_out(client, operator, bearer):
    headers = bearer(operator)
    version = make_release().version
    device = make_device()
    release = client.post(f"/api/versions/{version.pk}/releases", b"{}", "application/json", **headers).json()
    assert [v["device_class"] for v in release["variants"]] == ["embedded", "mobile", "edge_server"] or len(
        release["variants"]
    ) == 3
    body = json.dumps({"release": release["id"], "devices": [device.pk]})
    rollout = client.post("/api/rollouts", body, "application/json", **headers).json()
    assert (rollout["state"], rollout["target"], rollout["counts"]) == ("running", device.name, {"notified": 1})
    row = client.get(f"/api/rollouts/{rollout['id']}/deployments", **headers).json()["items"][0]
    assert row["waiting"] == "Waiting for the device: it has not connected yet."
    ended = client.post(f"/api/rollouts/{rollout['id']}/cancel", **headers).json()
    assert (ended["state"], ended["counts"]) == ("aborted", {"canceled": 1})


def test_a_rollout_tells_who_had_it_already_from_who_was_left_out(client, operator, bearer):
    release = make_release(classes=("embedded",))
    digest = release.variants.get().manifest_digest
    devices = [make_device(), make_device(active_manifest=digest), make_device(device_class="mobile")]
    start = lambda chosen: client.post(  # noqa: E731  # short, and used twice
        "/api/rollouts",
        json.dumps({"release": release.pk, "devices": [device.pk for device in chosen]}),
        "application/json",
        **bearer(operator),
    )
    rollout = start(devices).json()
    assert (rollout["counts"], rollout["already"]) == ({"notified": 1, "skipped": 2}, 1)
    answer = start(devices[1:])
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith("None of the 2 devices can take it: 1 already runs it; ")


def test_a_device_says_what_it_holds_back_in_figures_and_in_words(client, operator, bearer, device):
    less = {"step": "lower_rate", "budget": "power", "since": 1_795_000_000.0, "used": 5.6, "limit": 5.0}
    Device.objects.filter(pk=device.pk).update(restraints=[{**less, "level": 0.45, "source": "estimated"}])
    make_device()
    found = client.get("/api/devices?search=restrained", **bearer(operator)).json()["items"]
    assert [each["id"] for each in found] == [device.pk]
    assert found[0]["restraints"] == [
        {
            **less,
            "since": "2026-11-18T11:06:40Z",
            "level": 0.45,
            "source": "estimated",
            "words": "acts at 45 % of its rate",
            "because": "the estimated power was at 112 % of its budget (5.6 of 5 W)",
        }
    ]
    assert client.get("/api/devices?search=-restrained", **bearer(operator)).json()["count"] == 1


def test_a_preview_says_which_devices_are_too_small_and_by_what(client, operator, bearer):
    headers = bearer(operator)
    release = make_release(classes=("embedded",))
    variant = release.variants.get()
    variant.manifest["memory_bytes"] = 210 * 2**20
    variant.save()
    group = Group.objects.create(name="hall")
    small, large = make_device(hardware={"memory_bytes": 128 * 2**20}), make_device()
    group.devices.set([small, large, make_device(device_class="mobile")])
    rows = client.get(f"/api/releases/{release.pk}/preview?group=hall", **headers).json()
    assert {row["device"]: row["verdict"] for row in rows["items"]} == {
        device.pk: verdict
        for device, verdict in zip(group.devices.all(), ("blocked", "update", "no_variant"), strict=True)
    }
    assert rows["count"] == 3
    blocked = client.get(f"/api/releases/{release.pk}/preview?group=hall&verdict=blocked", **headers).json()["items"]
    reason = "The model needs 210.0 MiB of memory; a model may take 96.0 MiB on this device."
    assert [(row["device"], row["reason"], row["variant"]) for row in blocked] == [(small.pk, reason, variant.pk)]
    named = f"/api/releases/{release.pk}/preview?device={small.pk}&device={large.pk}"
    assert [row["device"] for row in client.get(named, **headers).json()["items"]] == [small.pk, large.pk]
    assert client.get(f"/api/releases/{release.pk}/preview", **headers).status_code == 409
    body = json.dumps({"release": release.pk, "devices": [small.pk]})
    refused = client.post("/api/rollouts", body, "application/json", **headers)
    assert (refused.status_code, Rollout.objects.count()) == (409, 0)
    assert reason[10:-1] in refused.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "devices?offset=99999999999999999999",
        "devices?limit=99999999999999999999",
        "events?offset=99999999999999999999",
        "rollouts?offset=2147483648",
        "devices?search=%00",
        "devices?state=evil",
        "devices?admission=evil",
        "devices?device_class=evil",
        "jobs?state=evil",
        "rollouts?state=evil",
    ],
)
def test_a_question_that_has_no_answer_is_refused_as_json(client, operator, bearer, query):
    answer = client.get(f"/api/{query}", **bearer(operator))
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_numbers_beyond_every_row_are_not_found(client, operator, bearer):
    headers = bearer(operator)
    for path in ("rollouts", "jobs", "versions", "releases"):
        assert client.get(f"/api/{path}/99999999999999999999", **headers).status_code == 404
    assert client.get("/api/events?rollout=99999999999999999999", **headers).status_code == 422
    job = start_optimization(make_version(), "mobile", operator)
    assert client.get(f"/api/jobs/{job.pk}/log?after=99999999999999999999", **headers).status_code == 422


@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_address_that_does_not_exist_says_so_in_json(client, method):
    answer = getattr(client, method)("/api/gadgets/7")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is no /api/gadgets/7; /api/openapi.json lists what there is."}


def test_devices_are_asked_for_by_the_state_that_pages_show(client, operator, bearer, device):
    found = lambda state: client.get(f"/api/devices?state={state}", **bearer(operator)).json()["count"]  # noqa: E731  # short, and used twice
    assert (found("never"), found("online")) == (1, 0)


def test_the_versions_of_an_unknown_model_are_not_found(client, operator, bearer):
    make_version("arm")
    assert len(client.get("/api/models/arm/versions", **bearer(operator)).json()) == 1
    assert client.get("/api/models/leg/versions", **bearer(operator)).status_code == 404


def test_a_release_says_which_variant_it_does_not_know(client, operator, bearer):
    version = make_release().version
    known = version.variants.first().pk
    address, headers = f"/api/versions/{version.pk}/releases", bearer(operator)
    answer = client.post(address, json.dumps({"variants": [known, 4711]}), "application/json", **headers)
    assert (answer.status_code, answer.json()["detail"]) == (409, "There is no variant 4711.")
    answer = client.post(address, json.dumps({"variants": [10**20]}), "application/json", **headers)
    assert answer.status_code == 422


def test_names_and_notes_that_cannot_be_stored_are_refused_wherever_they_come_from(client, admin, bearer, device):
    version = make_release().version
    headers = bearer(admin)
    for method, path, body in (
        ("patch", f"devices/{device.pk}", {"name": "arm\0"}),
        ("post", "groups", {"name": "hall", "description": "a\0b"}),
        ("post", "groups", {"name": "hall\n2"}),
        ("post", "enrollment-tokens", {"name": "boards\x1b[2J"}),
        ("post", f"versions/{version.pk}/releases", {"notes": "a\0b"}),
    ):
        answer = getattr(client, method)(f"/api/{path}", json.dumps(body), "application/json", **headers)
        assert answer.status_code == 409, path
        assert "cannot have control characters; this has U+00" in answer.json()["detail"]


def test_notes_of_an_upload_are_looked_at_before_its_file(client, operator, bearer):
    file = SimpleUploadedFile("model.onnx", b"no model")
    answer = client.post("/api/models/arm/versions", {"file": file, "notes": "a\0b"}, **bearer(operator))
    assert answer.status_code == 409
    assert answer.json()["detail"] == "A version's notes cannot have control characters; this has U+0000."


def test_trials_say_what_they_measured_and_which_can_be_released(client, operator, bearer):
    version = make_release().version
    Trial.objects.create(
        version=version, device_class="mobile", key="k", name="int8", verdict="lost", reason="Too lossy."
    )
    rows = client.get(f"/api/versions/{version.pk}/trials", **bearer(operator)).json()["items"]
    assert {row["name"]: bool(row["variant"]) for row in rows} == {"fp16-1": True, "int8": False}


def test_where_a_variant_comes_from_is_told_of_the_trial_the_variant_and_the_release(client, operator, bearer):
    version = make_version()
    trial = make_variant(version, "mobile").trial
    job = Job.objects.create(kind="optimize", version=version, device_class="mobile", created_by=operator)
    trial.job, trial.lineage = job, {"input": version.digest, "job": job.pk, "asked_by": operator.username}
    trial.save()
    address, headers = f"/api/versions/{version.pk}", bearer(operator)
    told = client.get(f"{address}/trials", **headers).json()["items"][0]
    assert (told["lineage"], told["job"]) == (trial.lineage, job.pk)
    variant = client.get(f"{address}/variants", **headers).json()[0]
    assert (variant["lineage"], variant["job"], variant["trial"]) == (trial.lineage, job.pk, trial.pk)
    assert (variant["recipe"], variant["figures"]) == (trial.recipe, trial.figures)
    release = client.post(f"{address}/releases", b'{"notes": "as it won"}', "application/json", **headers).json()
    assert (release["created_by"], release["notes"]) == (operator.username, "as it won")
    assert release["created_at"]
    assert release["variants"] == [variant]


def test_an_upload_that_is_no_model_is_refused_and_leaves_nothing(client, operator, bearer):
    import pickle

    evil = SimpleUploadedFile("model.pt2", pickle.dumps({"a": 1}))
    answer = client.post("/api/models/arm/versions", {"file": evil}, **bearer(operator))
    assert answer.status_code == 409
    assert "pickle" in answer.json()["detail"]


def test_anothers_rows_are_not_found(client, operator, bearer):
    assert client.get("/api/devices/d-000000nothing", **bearer(operator)).status_code == 404
    assert client.get("/api/rollouts/4711", **bearer(operator)).status_code == 404


def test_a_deactivated_person_and_their_tokens_are_out(client, people, bearer):
    from fleet.accounts.services import deactivate

    headers = bearer(people[Role.OPERATOR])
    assert client.get("/api/me", **headers).json()["role"] == "operator"
    deactivate(people[Role.OPERATOR], people[Role.ADMIN])
    assert client.get("/api/me", **headers).status_code == 401


def test_deleted_devices_do_not_appear(client, operator, bearer, admin):
    from fleet.devices.services import retire

    retire(make_device(), admin)
    make_version()
    assert client.get("/api/devices", **bearer(operator)).json()["items"] == []
    assert Device.objects.count() == 1


def test_an_operator_limits_what_blocks_may_take_of_the_network(client, people, bearer):
    headers = bearer(people[Role.OPERATOR])

    def put(rate, who=headers):
        return client.put("/api/transfer", json.dumps({"bytes_per_second": rate}), "application/json", **who)

    assert client.get("/api/transfer", **headers).json() == {"bytes_per_second": 0}
    assert put(5_000_000).json() == {"bytes_per_second": 5_000_000}
    assert limits.fleet_rate() == 5_000_000
    assert "at least 16,384 bytes a second" in put(100).json()["detail"]
    assert put(-1).status_code == 422
    assert put(0, bearer(people[Role.VIEWER])).status_code == 403
    assert put(0).json() == {"bytes_per_second": 0}
    words = Event.objects.filter(kind="transfer.limit").order_by("id").values_list("text", flat=True)
    assert list(words) == ["Blocks to the fleet: 5 MB a second at most", "Blocks to the fleet: as fast as it goes"]


def test_going_back_to_an_older_version_takes_a_word(client, operator, bearer):
    headers = bearer(operator)
    old, new = make_release(make_version(number=1)), make_release(make_version(number=2))
    device = make_device(active_manifest=new.variants.get(device_class="embedded").manifest_digest)

    def start(**more):
        body = json.dumps({"release": old.pk, "devices": [device.pk], **more})
        return client.post("/api/rollouts", body, "application/json", **headers)

    answer = start()
    assert answer.status_code == 409 and "Confirm that they go back." in answer.json()["detail"]
    assert start(back=True).status_code == 201
