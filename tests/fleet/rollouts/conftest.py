"""What a rollout is of and to, where a module has none of its own."""

import pytest

from tests.fleet.builders import make_release
from tests.fleet.rollouts.ten import ten_devices


@pytest.fixture
def group(db):
    return ten_devices()


@pytest.fixture
def release(db):
    return make_release()
