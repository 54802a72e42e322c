"""What others make of a model: one tool on one model, at its defaults. Runs in the peers' environment.

python tools.py TOOL MODEL.onnx CALIBRATION.npz OUT.onnx
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Feeds = dict[str, NDArray[np.generic]]


def feeds(model: Path, calibration: Path) -> list[Feeds]:
    """Single requests; a batch axis is added where the model's input has one dimension more."""
    ranks = {each.name: len(each.type.tensor_type.shape.dim) for each in onnx.load(model).graph.input}
    with np.load(calibration) as file:
        arrays = {name: file[name] for name in file.files}
    count = len(next(iter(arrays.values())))
    return [
        {n: np.asarray(a[i])[None] if a[i].ndim < ranks[n] else np.asarray(a[i]) for n, a in arrays.items()}
        for i in range(count)
    ]


class Reader:
    """Hands out the samples one at a time, which is what ONNX Runtime's calibrators ask for."""

    def __init__(self, samples: list[Feeds]) -> None:
        self._samples: Iterator[Feeds] = iter(samples)

    def get_next(self) -> Feeds | None:
        return next(self._samples, None)


def ort_dynamic(model: Path, calibration: Path, out: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(model, out)


def ort_static(model: Path, calibration: Path, out: Path) -> None:
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = out.with_suffix(".prepared.onnx")
    try:
        quant_pre_process(model, prepared)
    except Exception:  # its symbolic shapes know only some models; it says itself to leave them out then
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, out, Reader(feeds(model, calibration)))


def nncf_static(model: Path, calibration: Path, out: Path) -> None:
    import nncf

    samples = feeds(model, calibration)
    onnx.save(nncf.quantize(onnx.load(model), nncf.Dataset(samples), subset_size=len(samples)), out)


def olive_static(model: Path, calibration: Path, out: Path) -> None:
    from olive.data.registry import Registry

    @Registry.register_dataset("bench_samples")
    def samples(**_: Any) -> "_Samples":
        return _Samples(feeds(model, calibration))

    _olive(
        model,
        out,
        {"type": "OnnxStaticQuantization", "data_config": "bench"},
        [
            {
                "name": "bench",
                "type": "DataContainer",
                "load_dataset_config": {"type": "bench_samples"},
                "dataloader_config": {"type": "no_auto_batch_dataloader"},
            }
        ],
    )


def olive_dynamic(model: Path, calibration: Path, out: Path) -> None:
    _olive(model, out, {"type": "OnnxDynamicQuantization"}, [])


class _Samples:
    def __init__(self, samples: list[Feeds]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: int) -> tuple[Feeds, int]:
        return self._samples[place], 0


def _olive(model: Path, out: Path, how: dict[str, Any], data: list[dict[str, Any]]) -> None:
    import olive

    with tempfile.TemporaryDirectory() as folder:
        found = olive.run(
            {
                "input_model": {"type": "ONNXModel", "model_path": str(model)},
                "data_configs": data,
                "passes": {"quantize": how},
                "output_dir": folder,
                "no_artifacts": True,
            }
        )
        best = found.get_best_candidate()
        if best is None:
            raise RuntimeError("Olive gave no model")
        onnx.save(onnx.load(best.model_path), out)


TOOLS: dict[str, Callable[[Path, Path, Path], None]] = {
    "ort_dynamic": ort_dynamic,
    "ort_static": ort_static,
    "nncf_static": nncf_static,
    "olive_dynamic": olive_dynamic,
    "olive_static": olive_static,
}

if __name__ == "__main__":
    tool, *paths = sys.argv[1:]
    TOOLS[tool](*map(Path, paths))
