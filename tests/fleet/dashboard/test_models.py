"""Uploading a model, and the list of all."""

import json
import re

import onnx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from onnx import TensorProto, helper

from fleet.audit.models import Event
from fleet.catalog.models import ModelVersion
from tests.fleet.builders import make_release, make_version
from tests.fleet.dashboard.support import HTMX

CARD = {
    "schema": 1,
    "name": "doubler",
    "inputs": {"x": {"kind": "state", "size": 2}},
    "actions": {"output": "y", "chunk": 1, "size": 2, "execute": 1, "low": [-1, -1], "high": [1, 1]},
}


def model_bytes() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()


def form(**given) -> dict:
    return {
        "name": "Doubler",
        "upload": SimpleUploadedFile("doubler.onnx", model_bytes()),
        "evaluator": "",
        "notes": "a note that must not be lost",
        **given,
    }


# --- Upload ---------------------------------------------------------------------------------------------------------


def test_an_upload_becomes_the_next_version_and_leads_to_its_page(operating, db):
    card = SimpleUploadedFile("card.json", json.dumps(CARD).encode())
    answer = operating.post("/upload", form(card=card), headers=HTMX)
    assert answer.headers["HX-Redirect"] == "/models/doubler/1"
    version = ModelVersion.objects.get()
    assert (version.format, version.card["name"], version.file_name) == ("onnx", "doubler", "doubler.onnx")
    text = operating.get("/models/doubler/1").text
    assert "a note that must not be lost" in text
    assert "No variant yet" in text
    size = f"{version.size} B"
    assert size in text.replace("\N{NO-BREAK SPACE}", " ")
    assert Event.objects.get(kind="version.uploaded").text == f"doubler@1 was uploaded, {size}"
    assert operating.post("/upload", form()).url == "/models/doubler/2"


def test_a_model_of_a_few_bytes_is_a_real_one():
    onnx.checker.check_model(onnx.load_from_string(model_bytes()))


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ({"name": ""}, "name", "This field is required."),
        ({"name": "***"}, None, "needs at least one letter or digit"),
        ({"upload": ""}, "upload", "This field is required."),
        (
            {"upload": SimpleUploadedFile("weights.pth", b"x")},
            "upload",
            "weights.pth is neither a .pt2 nor an .onnx file.",
        ),
        ({"upload": SimpleUploadedFile("empty.onnx", b"")}, "upload", "The submitted file is empty."),
        ({"upload": SimpleUploadedFile("m.onnx", b"\x80\x04pickle")}, None, "pickle"),
        ({"card": SimpleUploadedFile("card.json", b"{")}, "card", "The policy card is not valid"),
        ({"card": SimpleUploadedFile("c.json", json.dumps({**CARD, "speed": 9}).encode())}, "card", "speed"),
        ({"evaluator": "os.system"}, "evaluator", "Select a valid choice."),
        ({"evaluator": "tabletop"}, None, "The evaluator tabletop needs a policy card"),
        ({"notes": "x" * 1025}, "notes", "at most 1024 characters"),
    ],
)
def test_a_bad_upload_is_said_where_it_is_wrong_and_nothing_is_lost(operating, db, given, field, says):
    answer = operating.post("/upload", form(**given), headers=HTMX)
    assert answer.status_code == 422
    assert "<html" not in answer.text, "the form alone: chosen files stay in the browser"
    assert says in answer.text
    if field:
        assert f'id="id_{field}-error"' in answer.text
    else:
        assert 'role="alert"' in answer.text
    if "notes" not in given:
        assert "a note that must not be lost" in answer.text
    assert not ModelVersion.objects.exists()


def test_without_scripts_a_bad_upload_is_the_whole_page(operating, db):
    answer = operating.post("/upload", form(name=""))
    assert answer.status_code == 422
    assert "<html" in answer.text
    assert "a note that must not be lost" in answer.text


def test_a_file_over_the_limit_is_refused(operating, db, settings):
    settings.MAX_UPLOAD_BYTES = 10
    answer = operating.post("/upload", form(), headers=HTMX)
    assert "the limit is 10" in answer.text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_lists_count_versions_releases_and_devices(viewer, device):
    release = make_release(make_version("arm", 1))
    make_version("arm", 2)
    type(device).objects.update(active_manifest=release.variants.get(device_class="embedded").manifest_digest)
    row = re.search(r'id="model-arm">(.*?)</tr>', viewer.get("/models").text, re.S)[1]
    assert re.findall(r">\s*(\d+)\s*<", row) == ["2", "1", "1"]
    versions = re.findall(r'id="version-(\d)">(.*?)</tr>', viewer.get("/models/arm").text, re.S)
    assert [number for number, _ in versions] == ["2", "1"]
    assert "none yet" in versions[0][1]
    assert "embedded" in versions[1][1]
