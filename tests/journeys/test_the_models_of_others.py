"""Models that nobody here wrote, without a policy card: from the upload to answers on a device's local API.

Two published ONNX files and a convolutional `.pt2`, one after the other on one device, while the robot's program (a
stock client of the Open Inference Protocol) keeps its connection.
"""

import time

import numpy as np
import onnxruntime
import pytest
import torch
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype

from tests import foreign
from tests.ports import free_port

NAME, TOKEN = "vision-box", "0123456789-of-the-robots-programs"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
MODELS = ("magika", "silero", "classifier")


class Box:
    """The device, and its local API."""

    def __init__(self, installation) -> None:
        api = installation.api
        api.post("/groups", {"name": "boxes"})
        order = {"name": "boxes", "auto_accept": True, "group": "boxes"}
        port = free_port()
        installation.start_agent(
            NAME,
            api.post("/enrollment-tokens", order)["token"],
            api=f"127.0.0.1:{port}",
            api_token=TOKEN,
            declared_cores=4,
            declared_memory_gib=4,
            declared_storage_gib=32,
        )
        self.client = triton.InferenceServerClient(f"127.0.0.1:{port}")
        installation.wait_for("the device", lambda: installation.device(NAME).get("liveness") == "online", 60)
        self.id = installation.device(NAME)["id"]
        api.call("PATCH", f"/devices/{self.id}", {"config": {"watch_seconds": 1, "telemetry_interval": 1}})
        self.artifacts = installation.folder / "devices" / NAME / "artifacts"

    def infer(self, model: str, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = []
        for name, array in feeds.items():
            tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(np.array(array))
            given.append(tensor)
        answer = self.client.infer(model, given, headers=AUTHORIZED)
        return {each["name"]: answer.as_numpy(each["name"]) for each in answer.get_response()["outputs"]}


@pytest.fixture(scope="module")
def box(installation):
    made = Box(installation)
    yield made
    made.client.close()


@pytest.fixture(scope="module")
def uploaded(installation, tmp_path_factory):
    """Each model with its evaluation set, its version and its optimization, which are all under way at once."""
    begun = {}
    for name in MODELS:
        file, evaluation = getattr(foreign, name)(tmp_path_factory.mktemp(name))
        version = installation.api.upload(name, file, evaluation=evaluation)
        order = {"device_class": "embedded", "budget": "brief"}
        job = installation.api.post(f"/versions/{version['id']}/optimize", order)
        begun[name] = (file, evaluation, version, job)
    return begun


@pytest.mark.parametrize("name", MODELS)
def test_from_the_upload_to_answers_on_the_device(installation, uploaded, box, name):
    file, evaluation, version, job = uploaded[name]
    api = installation.api

    def ended() -> dict | None:
        now = api.get(f"/jobs/{job['id']}")
        return now if now["state"] not in ("queued", "running") else None

    done = installation.wait_for("the optimization", ended, 240)
    assert done["state"] == "succeeded", done["reason"]
    release = api.post(f"/versions/{version['id']}/releases", {})
    (variant,) = release["variants"]
    rollout = api.post("/rollouts", {"release": release["id"], "group": "boxes"})
    installation.wait_for("the rollout", lambda: api.get(f"/rollouts/{rollout['id']}")["state"] == "finished", 60)
    (deployment,) = api.get(f"/rollouts/{rollout['id']}/deployments")["items"]
    assert deployment["state"] == "active", deployment["reason"]
    reported = lambda: installation.device(NAME)["active_manifest"] == variant["manifest_digest"]  # noqa: E731
    installation.wait_for("its own word of that", reported, 10)

    assert box.client.is_model_ready(name, str(version["number"]), headers=AUTHORIZED)
    compare_with_golden(box, name, variant["manifest_digest"])
    compare_with_the_original(box, name, file, evaluation)
    decided = lambda: api.get(f"/devices/{box.id}/samples", limit=1)["items"][0]["decisions"] > 0  # noqa: E731
    installation.wait_for("its figures", decided, 15)


def compare_with_golden(box: Box, name: str, manifest: str) -> None:
    """What the server measured of this variant, within the tolerance that its manifest allows."""
    from agent.inference import golden
    from agent.inference.trial import manifest_of

    folder = box.artifacts / manifest
    assert not (folder / "card.json").exists()
    expected, tolerance = golden.read(folder / "golden.npz"), manifest_of(folder).tolerance
    for number in range(expected.samples):
        outputs = box.infer(name, expected.feeds(number))
        assert golden.largest_error(outputs, expected, number) <= tolerance


def compare_with_the_original(box: Box, name: str, file, evaluation) -> None:
    if name == "classifier":
        program = torch.export.load(file).module()  # this test's own file
        with np.load(evaluation) as samples:
            feeds = [{"picture": picture[None]} for picture in samples["picture"]]
        original = [program(torch.from_numpy(each["picture"])).detach().numpy() for each in feeds]
    else:
        feeds = foreign.requests(file, evaluation)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        original = [session.run(None, each)[0] for each in feeds]
    begun = time.perf_counter()
    found = [next(iter(box.infer(name, each).values())) for each in feeds]
    assert (time.perf_counter() - begun) / len(feeds) < 0.1, "under 100 ms a decision, the way there and back included"
    if name != "silero":
        same = [mine.argmax() == theirs.argmax() for mine, theirs in zip(found, original, strict=True)]
        assert np.mean(same) > 0.95
    if name != "classifier":
        gaps = [np.abs(mine - theirs).max() for mine, theirs in zip(found, original, strict=True)]
        assert max(gaps) < 0.1, "scores between 0 and 1"
