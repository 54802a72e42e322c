"""The whole search, with real children, on a policy of a few thousand weights."""

import hashlib
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
import torch

from agent.inference import golden, policy_card, runtimes
from agent.wire import manifest as wire
from agent.wire.hardware import DeviceClass
from fleet.optimizer import packaging
from fleet.optimizer.contract import Budget, Constraints, Request
from fleet.optimizer.errors import Cancelled, IntakeError, PassError
from fleet.optimizer.make import MakeRequest, Variation, make
from fleet.optimizer.recipe import recipe_for
from fleet.optimizer.sandbox import ROOT
from fleet.optimizer.search import optimize
from tests.fleet.optimizer import tiny, tiny_world
from tests.fleet.optimizer.test_archive import Bomb, pickled

BUDGET = Budget(episodes=60, screen_episodes=30, distillation_steps=60, rounds=4)
EVALUATOR = "tests.fleet.optimizer.tiny_world:evaluate"


def request(source: Path, cache: Path, device_class=DeviceClass.EMBEDDED, **changes) -> Request:
    plain = Request(
        source=str(source),
        format="onnx" if source.suffix == ".onnx" else "pt2",
        device_class=device_class,
        recipe=recipe_for(device_class),
        cache=str(cache),
        card=tiny_world.CARD_BYTES,
        evaluator=EVALUATOR,
        budget=BUDGET,
    )
    return msgspec.structs.replace(plain, **changes)


class Heard(list):
    """What a search said on the way."""

    def __call__(self, share: float, text: str) -> None:
        self.append((share, text))

    @property
    def measured(self) -> set[str]:
        """The candidates that a child was started for."""
        return {text.split(":")[0] for _, text in self if text.endswith("comparing outputs")}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="module")
def touched(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("touched") / "by-a-pickle"


@pytest.fixture(scope="module")
def upload(tiny_pt2, touched, tmp_path_factory) -> Path:
    """A good model with a live pickle where torch keeps sample inputs."""
    target = tmp_path_factory.mktemp("upload") / "policy.pt2"
    return tiny.rebuilt(tiny_pt2, target, {"data/sample_inputs/model.pt": pickled(Bomb(touched))})


@pytest.fixture(scope="module")
def outcome(upload, cache, heard, tmp_path_factory):
    return optimize(request(upload, cache), tmp_path_factory.mktemp("work"), heard)


def trial(outcome, name: str):
    return next(each for each in outcome.trials if each.name == name)


def test_a_smaller_variant_wins_and_every_trial_says_why(outcome):
    won = trial(outcome, outcome.winner)
    assert won.verdict == "won"
    assert outcome.trials[0].recipe == {"original": True}
    assert outcome.trials[0].figures["bytes"] / won.figures["bytes"] >= 1.9
    assert outcome.winner in outcome.summary
    assert [each.verdict for each in outcome.trials].count("won") == 1
    for each in outcome.trials:
        assert each.reason.endswith((".", "…")), each.name
        assert (each.score is not None) == (each.verdict in ("won", "passed"))
        assert (each.artifact is not None) == (each.verdict in ("won", "passed"))
    scores = [each.score for each in outcome.trials if each.score is not None]
    assert won.score == min(scores)


def test_what_was_measured_of_the_winner_is_complete(outcome):
    figures = trial(outcome, outcome.winner).figures
    for name in (
        "p50_ms",
        "p95_ms",
        "p50_all_ms",
        "p95_all_ms",
        "peak_bytes",
        "memory_bytes",
        "compressed_bytes",
        "load_ms",
        "cosine",
    ):
        assert figures[name] > 0, name
    assert figures["peak_bytes"] > figures["memory_bytes"]
    assert figures["episodes"] == BUDGET.episodes
    assert figures["success_low"] <= figures["success"] <= figures["success_high"]
    assert figures["loss_low"] <= figures["loss_points"] <= figures["loss_high"]
    assert figures["ratio_low"] <= figures["ratio_p50"] <= figures["ratio_high"]


def test_no_variant_that_passed_is_both_slower_and_less_faithful(outcome):
    for each in outcome.trials[1:]:
        if each.verdict in ("won", "passed"):
            slower = each.figures["ratio_low"] > 1 and each.figures["ratio_p50"] > 1.03
            assert not (slower and each.figures["loss_points"] > 0), each.name


def test_a_device_can_prove_every_variant_on_its_golden_observations(outcome):
    for each in outcome.trials:
        if each.artifact is None:
            continue
        folder = Path(each.artifact)
        observations = golden.read(folder / "golden.npz")
        assert observations.samples == 16
        model = runtimes.load(folder / "model.onnx")
        codec = policy_card.Codec(policy_card.read((folder / "card.json").read_bytes()))
        tolerance = json.loads((folder / "facts.json").read_bytes())["tolerance"]
        for number in range(observations.samples):
            outputs = model.run(observations.feeds(number))
            assert golden.largest_error(outputs, observations, number) <= tolerance
            codec.actions(outputs["actions"])


def test_the_winner_packs_into_a_manifest_and_comes_out_whole(outcome):
    stored: dict[str, bytes] = {}

    def put(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        stored[digest] = data
        return digest

    folder = Path(trial(outcome, outcome.winner).artifact)
    made = packaging.package(folder, put, model="tiny", version="1", variant="v", device_class="embedded")
    wire.check(made)
    assert made.memory_bytes > 0
    assert made.deadline_ms == 1000
    assert b"".join(stored[part.digest] for part in made.of("model")) == (folder / "model.onnx").read_bytes()


def test_where_it_came_from_is_recorded(outcome, upload):
    assert outcome.lineage["input"] == hashlib.sha256(upload.read_bytes()).hexdigest()
    assert outcome.lineage["tools"]["torch"].startswith("2.")
    assert outcome.lineage["evaluator"] == EVALUATOR
    for each in outcome.trials:
        assert {name: each.lineage[name] for name in outcome.lineage} == outcome.lineage
        assert each.lineage["measured_at"].endswith("+00:00")
        assert platform.node() in each.lineage["machine"]
    assert outcome.gates["loss_points"] == 2.0
    assert "left out of the upload: data/sample_inputs/model.pt" in outcome.log


def test_progress_rises_and_says_what_is_done(outcome, heard):
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any("cutting feed.0.weight" in text for _, text in heard)
    assert any("distilling" in text for _, text in heard)
    assert heard.measured == {each.name for each in outcome.trials}


def test_the_same_search_again_measures_nothing(outcome, upload, cache, tmp_path):
    again = Heard()
    second = optimize(request(upload, cache), tmp_path, again)
    assert not again.measured
    assert [each.figures for each in second.trials] == [each.figures for each in outcome.trials]
    assert [each.lineage for each in second.trials] == [each.lineage for each in outcome.trials]
    assert second.winner == outcome.winner


def test_the_next_class_measures_only_what_is_new(outcome, upload, cache, tmp_path):
    mobile = Heard()
    optimize(request(upload, cache, DeviceClass.MOBILE), tmp_path, mobile)
    assert mobile.measured == {"30 % cut, int8 storage"}


def test_the_parent_never_imports_torch_or_onnx():
    code = (
        "import sys, fleet.optimizer.search, fleet.optimizer.packaging; "
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'django') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def command_of(process: psutil.Process) -> str:
    """Nothing for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_cancelling_ends_it_within_a_second_and_leaves_the_cache_whole(tiny_pt2, tmp_path):
    asked: list[float] = []

    def hear(share: float, text: str) -> None:
        if "exporting" in text and not asked:
            asked.append(time.monotonic())

    with pytest.raises(Cancelled):
        optimize(request(tiny_pt2, tmp_path / "cache"), tmp_path / "work", hear, lambda: bool(asked))
    assert time.monotonic() - asked[0] < 1
    assert not [p for p in psutil.Process().children(recursive=True) if "fleet.optimizer" in command_of(p)]
    assert list((tmp_path / "cache").iterdir()) == []
    assert list((tmp_path / "work").iterdir()) == []


def test_the_pickle_in_the_upload_was_never_opened(outcome, touched):
    assert outcome.winner
    assert not touched.exists()


def test_a_pickle_under_another_name_is_refused(tmp_path):
    torch.save({"w": torch.zeros(3)}, tmp_path / "model.pt2")
    with pytest.raises(IntakeError, match="is a pickle"):
        optimize(request(tmp_path / "model.pt2", tmp_path / "cache"), tmp_path / "work")


def make_request(source: Path, folder: Path, card: bytes = tiny_world.CARD_BYTES) -> MakeRequest:
    (folder / "card.json").write_bytes(card)
    return MakeRequest(
        source=str(source),
        format="pt2",
        samples=str(folder / "samples.npz"),
        variations=(Variation(out=str(folder / "out")),),
        card=str(folder / "card.json"),
        evaluator=EVALUATOR,
    )


def test_weights_that_are_nan_are_refused_by_name(tiny_policy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broken = tiny.TinyPolicy().eval()
    broken.load_state_dict(tiny_policy.state_dict())
    with torch.no_grad():
        broken.head.bias[0] = torch.nan
    with pytest.raises(PassError, match=r"weight head\.bias holds NaN"):
        make(make_request(tiny.save(broken, tmp_path / "nan.pt2"), tmp_path))


def test_a_card_for_another_model_is_refused(tiny_pt2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = tiny_world.CARD
    other = msgspec.structs.replace(card, inputs={"image": card.inputs["image"]})
    with pytest.raises(IntakeError, match="the model takes image, state, tokens; its card"):
        make(make_request(tiny_pt2, tmp_path, msgspec.json.encode(other)))


def test_an_onnx_upload_is_stored_and_quantized_but_not_cut(tiny_onnx, tmp_path):
    samples = {
        name: array[:, 0] if array.ndim == 5 else array
        for name, array in next(tiny_world.batches(tiny_world.CARD, 24, 3)).items()
    }
    np.savez(tmp_path / "evaluation.npz", **samples)
    found = optimize(
        request(tiny_onnx, tmp_path / "cache", evaluation=str(tmp_path / "evaluation.npz"), evaluator=None),
        tmp_path / "work",
    )
    assert [each.name for each in found.trials] == [
        "original",
        "fp16 storage",
        "int8 storage",
        "int8",
        "int8 everywhere",
        "static int8",
        "low rank, int8 storage",
    ]
    assert found.winner != "original"
    assert trial(found, found.winner).figures["cosine"] >= 0.99
    assert "success" not in trial(found, "original").figures
    assert any("upload a .pt2" in line for line in found.log)


def test_a_technique_that_crashes_takes_nothing_but_itself_along(tiny_pt2, tmp_path):
    np.savez(tmp_path / "evaluation.npz", **next(tiny_world.batches(tiny_world.CARD, 16, 3)))
    found = optimize(
        request(
            tiny_pt2,
            tmp_path / "cache",
            DeviceClass.EDGE_SERVER,
            evaluator="tests.fleet.optimizer.deadly_world:evaluate",
            evaluation=str(tmp_path / "evaluation.npz"),
            budget=Budget(episodes=20, screen_episodes=10, rounds=2),
        ),
        tmp_path / "work",
    )
    assert found.winner == "fp16 storage"
    for each in found.trials[2:]:
        assert each.verdict == "failed"
        assert each.reason.startswith("It failed: it crashed with SIGABRT")


def test_what_has_nothing_to_cut_fails_in_that_and_wins_with_the_rest(tmp_path):
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(64, 64)
            self.state, self.head = torch.nn.Linear(3, 64), torch.nn.Linear(64, 6)

        def forward(self, image, tokens, state):
            seen = self.words(tokens).sum(1) + self.state(state) + image.mean((1, 2, 3))[:, None]
            return torch.tanh(self.head(torch.nn.functional.layer_norm(seen, (64,)))).view(-1, 2, 3)

    torch.manual_seed(0)
    found = optimize(
        request(
            tiny.save(Plain(), tmp_path / "plain.pt2"),
            tmp_path / "cache",
            DeviceClass.EDGE_SERVER,
            budget=Budget(episodes=20, screen_episodes=10, rounds=2),
        ),
        tmp_path / "work",
    )
    cut = trial(found, "20 % cut, fp16 storage")
    assert cut.verdict == "failed"
    assert "no feed-forward block" in cut.reason
    assert found.winner == "fp16 storage"


def test_when_not_even_the_original_is_fast_enough_nothing_wins(upload, cache, outcome, tmp_path):
    found = optimize(request(upload, cache, constraints=Constraints(max_latency_ms=0.0001)), tmp_path)
    assert found.winner is None
    assert found.summary.startswith("Nothing passes the gates for embedded devices")
    assert all(each.verdict in ("lost", "failed") for each in found.trials)
