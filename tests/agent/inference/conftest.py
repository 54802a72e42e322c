"""A small model, an engine that runs it, and a program that asks its local API."""

import pytest

from agent.inference import inference_engine
from agent.inference.inference_engine import InferenceEngine
from tests.agent.inference.apis import Program, serving
from tests.agent.inference.folders import folder_of
from tests.agent.variants import variant


@pytest.fixture
def load(tmp_path):
    count = iter(range(1000))

    def made(weight=2.0, version="1", **how):
        folder = folder_of(variant(weight, **how), tmp_path / str(next(count)))
        return inference_engine.load(folder, artifact="ab" * 32, name="tiny", version=version)

    return made


@pytest.fixture
def engine(load):
    made = InferenceEngine()
    made.swap(load())
    return made


@pytest.fixture
def program(engine):
    """`ask` at a running API, over one connection."""
    with serving(engine) as api:
        made = Program(api.port)
        yield made
        made.close()
