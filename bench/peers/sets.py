"""Published models and real inputs for them: half to calibrate on, half to judge by. Runs in the peers' environment.

    python sets.py FOLDER SILERO_SOURCES.tar.gz

Writes NAME.onnx, NAME-calibration.npz and NAME-judged.npz; an array has the input's name and samples on the first axis.
"""

import io
import shutil
import sys
import tarfile
import wave
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]

#: Silero's frame at 16 kHz, and what it wants to see again of the one before.
FRAME, CONTEXT = 512, 64
#: Magika's two ends of a file, what it looks at for them, and its sign for nothing.
END, BLOCK, NOTHING = 1024, 4096, 256
FILES = 480
KINDS = (
    *("py", "pyi", "txt", "md", "html", "css", "js", "json", "xml", "toml", "yaml", "h", "c", "cpp"),
    *("png", "gif", "jpg", "so", "zip", "gz", "npz", "whl", "wav", "pem", "csv", "sql", "sh", "ini"),
)
#: What the detector sees at a time.
CROP = 320


def package_file(package: str, path: str) -> Path:
    found = find_spec(package)
    if found is None or found.origin is None:
        raise FileNotFoundError(f"{package} is not installed")
    return Path(found.origin).parent / path


def silero(folder: Path, sources: Path) -> Arrays:
    """Its own test recording, a minute of speech at 16 kHz, frame by frame with the state that it leaves behind."""
    model = package_file("silero_vad", "data/silero_vad.onnx")
    shutil.copyfile(model, folder / "silero.onnx")
    with tarfile.open(sources) as archive:
        member = next(each for each in archive.getmembers() if each.name.endswith("tests/data/test.wav"))
        with archive.extractfile(member) as file, wave.open(io.BytesIO(file.read())) as recording:  # type: ignore[union-attr]  # a regular file
            sound = np.frombuffer(recording.readframes(recording.getnframes()), np.int16).astype(np.float32) / 32768
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32)
    inputs, states = [], []
    for at in range(0, len(sound) - FRAME + 1, FRAME):
        frame = np.concatenate([context, sound[at : at + FRAME]])
        inputs.append(frame)
        states.append(state)
        _, state = session.run(None, {"input": frame[None], "state": state, "sr": np.array(16_000, np.int64)})
        context = frame[-CONTEXT:]
    kept = slice(None, None, 4)
    return {
        "input": np.array(inputs)[kept],
        "state": np.array(states)[kept],
        "sr": np.full(len(inputs[kept]), 16_000, np.int64),
    }


def magika(folder: Path, _: Path) -> Arrays:
    """Files of this Python installation, as many of each kind as there are, in turn."""
    shutil.copyfile(package_file("magika", "models/standard_v3_3/model.onnx"), folder / "magika.onnx")
    roots = [Path(np.__file__).parents[1], Path(io.__file__).parent]
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for root in roots:
        for path in sorted(root.rglob("*")):
            kind = path.suffix.removeprefix(".")
            if kind in found and len(found[kind]) < FILES and path.is_file() and path.stat().st_size > 64:
                found[kind].append(path)
    chosen: list[Path] = []
    for place in range(FILES):
        chosen += [paths[(place * 37) % len(paths)] for paths in found.values() if place < len(paths)]
    chosen = list(dict.fromkeys(chosen))[:FILES]
    return {"bytes": np.array([_ends(path.read_bytes()) for path in chosen], np.int32)}


def _ends(data: bytes) -> list[int]:
    first, last = data[:BLOCK].lstrip()[:END], data[-BLOCK:].rstrip()[-END:]
    nothing = [NOTHING]
    return [*first, *nothing * (END - len(first)), *nothing * (END - len(last)), *last]


def detector(folder: Path, _: Path) -> Arrays:
    """scikit-image's page of text at several sizes and places, in the numbers that RapidOCR makes of a picture."""
    import cv2
    from skimage import data

    model = package_file("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx")
    shutil.copyfile(model, folder / "detector.onnx")
    page = cv2.cvtColor(data.page(), cv2.COLOR_GRAY2BGR)
    crops = []
    for scale in (1.0, 1.7, 2.3, 3.0, 3.8):
        picture = cv2.resize(page, None, fx=max(scale, CROP / page.shape[0]), fy=max(scale, CROP / page.shape[0]))
        ys, xs = (range(0, size - CROP + 1, CROP // 2) for size in picture.shape[:2])
        crops += [picture[y : y + CROP, x : x + CROP] for y in ys for x in xs]
    order = np.random.default_rng(0).permutation(len(crops))[:48]
    return {"x": np.array([((crops[i] / 255.0 - 0.5) / 0.5).transpose(2, 0, 1) for i in order], np.float32)}


SETS = {"silero": silero, "magika": magika, "detector": detector}


def main(folder: Path, sources: Path) -> None:
    for name, make in SETS.items():
        arrays = make(folder, sources)
        for half, which in enumerate(("calibration", "judged")):
            np.savez(folder / f"{name}-{which}.npz", **{key: each[half::2] for key, each in arrays.items()})
        print(name, {key: list(each.shape) for key, each in arrays.items()}, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
