"""Which model answers a device, and the folder that it is loaded from."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agent.inference import inference_engine
from agent.wire import manifest as wire
from fleet.catalog import store
from fleet.catalog.models import Release
from fleet.inference import logins, serving
from fleet.rollouts.models import Deployment, Rollout
from tests.fleet.builders import make_variant, make_version
from tests.fleet.inference.conftest import hybrid_device, stored_variant

pytestmark = pytest.mark.django_db


def login_of(device) -> logins.Login:
    return logins.read([device.pk], "p")[device.pk]


def served(version) -> tuple[str, str]:
    found = serving.for_version(version.model.name, str(version.number))
    return found.device_class, found.variant


def test_the_edge_servers_variant_answers_whichever_the_device_runs():
    version = make_version("arm", 3)
    for device_class in ("embedded", "edge_server", "mobile"):
        make_variant(version, device_class)
    assert served(version) == ("edge_server", "fp16")
    assert serving.for_version("arm", "4") is None
    assert serving.for_version("leg", "3") is None
    assert serving.for_version("arm", "3; DROP") is None


def test_of_a_class_the_released_one_answers_before_the_winner():
    version = make_version("arm", 3)
    make_variant(version, "mobile", "fp16", "won")
    make_variant(version, "mobile", "bad", "lost")
    assert served(version) == ("mobile", "fp16")
    chosen = make_variant(version, "mobile", "distilled", "passed")
    Release.objects.create(version=version, number=1).variants.set([chosen])
    assert served(version) == ("mobile", "distilled")


def test_a_device_that_names_none_gets_what_it_runs_or_should_run_or_was_left_out_of():
    version = make_version("arm", 3)
    mine, _ = make_variant(version, "embedded"), make_variant(version, "edge_server")
    for device in (hybrid_device(mine), hybrid_device(None, desired_manifest=mine.manifest_digest)):
        assert serving.for_device(login_of(device)).device_class == "edge_server"
    left_out = hybrid_device()
    assert serving.for_device(login_of(left_out)) is None
    release = Release.objects.create(version=version, number=1)
    rollout = Rollout.objects.create(release=release, target="x", deadline_seconds=60)
    Deployment.objects.create(
        rollout=rollout,
        device=left_out,
        variant=mine,
        state="skipped",
        reason="does not fit",
        deadline=rollout.created_at,
    )
    assert str(serving.for_device(login_of(left_out))) == "arm@3 fp16 (edge server)"


def test_the_files_are_put_together_once_and_load():
    variant = stored_variant(make_version("arm", 3), weight=2.0)
    found = serving.for_version("arm", "3")
    folder = serving.folder_of(found)
    with CaptureQueriesContext(connection) as queries:
        assert serving.folder_of(found) == folder
    assert len(queries) == 0
    loaded = inference_engine.load(folder, variant.manifest_digest, name="arm", version="3")
    assert loaded.card is not None


def test_parts_that_changed_in_the_store_are_not_loaded():
    variant = stored_variant(make_version("arm", 3), weight=4.0)
    part = variant.manifest["parts"][0]["digest"]
    path = store.path(part)
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1] + b"\0")
        with pytest.raises(ValueError, match="digest"):
            serving.folder_of(serving.for_version("arm", "3"))
        assert wire.digest_of(whole) == part
    finally:
        path.write_bytes(whole)


def test_a_look_at_all_logins_takes_two_queries_whatever_their_number():
    for count in (3, 60):
        names = [hybrid_device().pk for _ in range(count)]
        with CaptureQueriesContext(connection) as queries:
            assert len(logins.read(names, "p")) == count
        assert len(queries) == 2
