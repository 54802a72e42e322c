"""Sources of observations by name."""

import pytest

from agent import source
from tests.agent.worlds import steady


def test_a_source_is_found_by_its_name():
    assert source.load("tests.agent.worlds:steady") is steady


@pytest.mark.parametrize("name", ["", "nothing", "no.such.module:x", "tests.agent.worlds:nothing", ":x"])
def test_one_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match="there is no observation source"):
        source.load(name)
