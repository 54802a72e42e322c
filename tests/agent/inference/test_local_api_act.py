"""`/act`: an image and words become actions."""

import base64
import json
import re
import shlex
import shutil
import subprocess
import tomllib

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from agent.inference import inference_engine
from agent.inference.inference_engine import InferenceEngine
from tests.agent.inference.apis import STATE, TWENTY, Program, serving
from tests.agent.inference.folders import folder_of
from tests.agent.inference.pictures import seeing_variant
from tests.agent.support import ROOT
from tests.agent.variants import variant


@pytest.fixture
def seeing(load):
    """An engine whose model looks at an image, and answers with the mean of its red, green and blue."""
    made = InferenceEngine()
    made.swap(load(**seeing_variant()))
    return made


def picture(height: int, width: int, red: int) -> np.ndarray:
    made = np.zeros((height, width, 3), np.uint8)
    made[..., 0] = red
    return made


def encoded(image: np.ndarray) -> dict:
    return {"height": image.shape[0], "width": image.shape[1], "data": base64.b64encode(image.tobytes()).decode()}


@pytest.mark.parametrize("form", [encoded, np.ndarray.tolist])
def test_an_image_and_words_become_actions(seeing, form):
    with serving(seeing) as api:
        program = Program(api.port)
        status, told = program.ask("POST", "/act", {"image": form(picture(6, 8, 51)), "instruction": "look"})
        program.close()

    assert status == 200, told
    assert told["actions"][0] == pytest.approx([0.2, 0.0, 0.0], abs=1e-6)
    assert (told["execute"], told["model_name"], told["model_version"]) == (1, "tiny", "1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": {"height": 100_000, "width": 100_000, "data": ""}}, "4096"),
        ({"image": {"height": 4000, "width": 4000, "data": "AAAA"}}, "has 48000000 bytes of RGB, this one has 3"),
        ({"image": {"height": 1, "width": 1, "data": "not base64!"}}, "base64"),
        ({"image": []}, "The rows of an image"),
        ({"image": [[]]}, "The rows of an image"),
        ({"image": [[[1, 2, 3]], []]}, "The rows of an image"),
        ({"image": [[[1, 2, 300]]]}, "not valid"),
        ({"image": [[[1, 2]]]}, "not valid"),
        ({"image": None}, "The model needs an image; the request has none."),
        ({"instruction": None}, "The model needs an instruction"),
        ({"instruction": "look at the saucer"}, "has 4 words, the model takes 2"),
        ({"instruction": "saucer"}, "The model does not know the word 'saucer'."),
        ({"instruction": 7}, "not valid"),
        ({"picture": 1}, "unknown field `picture`"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused_in_words(seeing, changes, words):
    with serving(seeing) as api:
        program = Program(api.port)
        given = {"image": encoded(picture(2, 2, 9)), "instruction": "look", **changes}
        status, told = program.ask("POST", "/act", given)
        assert (status, words in told["error"]) == (400, True), told
        assert program.ask("POST", "/act", b"[" * 20_000)[0] == 400
        program.close()


def test_a_state_alone_is_enough_for_a_model_that_takes_no_more(program):
    status, told = program.ask("POST", "/act", {"state": [1, 2, 3, 4]})
    assert (status, told["actions"]) == (200, [[20.0] * 3] * 2)
    assert program.ask("POST", "/act", {"state": [1, 2]})[1]["error"].startswith("The state has shape [2]")
    assert "needs a state" in program.ask("POST", "/act", {})[1]["error"]


def test_a_request_whose_own_deadline_passes_while_it_waits_is_refused(engine, program):
    """By each of the two ways in; a stock client names its deadline in microseconds."""
    given = triton.InferInput("state", [1, 4], "FP32")
    given.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32))
    with triton.InferenceServerClient(f"localhost:{program.port}") as client:
        assert client.infer("tiny", [given], timeout=10_000_000).as_numpy("actions").ravel().tolist() == TWENTY
        with engine._lock:  # another decision is under way
            with pytest.raises(InferenceServerException, match="deadline passed while it waited"):
                client.infer("tiny", [given], timeout=20_000)
            status, told = program.ask("POST", "/act", {"state": [1, 2, 3, 4], "within_ms": 20})
            assert (status, "nothing was run" in told["error"]) == (504, True)
    assert program.ask("POST", "/act", {"state": [1, 2, 3, 4], "within_ms": 10_000})[0] == 200
    assert "edge_agent_refused_requests_total 2" in program.ask("GET", "/metrics")[1].decode()
    assert program.infer([STATE], parameters={"timeout": 0})[0] == 200
    for wrong in (-1, 2.5, True, "soon", 2**60):
        status, told = program.infer([STATE], parameters={"timeout": wrong})
        assert (status, "no whole number of microseconds" in told["error"]) == (400, True)


def test_a_model_without_a_card_cannot_act_and_says_what_to_do(engine, load):
    engine.swap(load(with_card=False))
    with serving(engine) as api:
        program = Program(api.port)
        status, told = program.ask("POST", "/act", {"state": [1, 2, 3, 4]})
        assert status == 409
        assert told["error"] == "The model has no policy card. Send it tensors, at /v2/models/tiny/infer."
        assert program.infer([STATE])[1]["outputs"][0]["data"] == TWENTY
        program.close()


def test_the_examples_of_its_page_do_what_they_say(load, tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/local-api.md").read_text()
    blocks = re.findall(r"```(\w*)\n(.*?)```", page, re.DOTALL)
    examples = [code for language, code in blocks if language == "python"]
    (command,) = [code for language, code in blocks if not language]
    sees = seeing_variant(96, 4, "look grasp the red square")
    folder_of(variant(**sees), tmp_path / "artifact")
    monkeypatch.chdir(tmp_path)
    engine = InferenceEngine()
    engine.swap(inference_engine.load(tmp_path / "artifact", name="arm"))
    with serving(engine) as api:
        for code in examples:
            exec(code.replace("8008", str(api.port)), {})  # noqa: S102 -- the page's own
        assert len(capsys.readouterr().out.splitlines()) == 1 + 3 + 8
        words = shlex.split(command.replace("8008", str(api.port)))
        if shutil.which(words[0]):
            done = subprocess.run([*words, "--noproxy", "*"], capture_output=True, check=True)
            assert json.loads(done.stdout)["actions"][0] == pytest.approx([0.5, 0.5, 0], abs=0.01)
        told = tomllib.loads(next(code for language, code in blocks if language == "toml"))
        assert set(told) == {"api", "api_token"}
