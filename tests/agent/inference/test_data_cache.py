"""A decision is found again only when everything it depends on is the same."""

import numpy as np
import pytest

from agent.inference.data_cache import DataCache, key_of
from agent.inference.policy_card import Observation


def seen(pixel=0, words="grasp the red square", state=(1.0, 2.0), shape=(4, 4, 3)) -> Observation:
    image = np.zeros(shape, np.uint8)
    image[0, 0, 0] = pixel
    return Observation(image, words, np.array(state, np.float32))


ACTIONS = np.ones((2, 3), np.float32)


def test_the_same_is_found_again():
    cache = DataCache()
    cache.put(key_of(seen(), "a"), ACTIONS)

    assert cache.get(key_of(seen(), "a")).tolist() == ACTIONS.tolist()
    assert (cache.lookups, cache.hits) == (1, 1)


@pytest.mark.parametrize(
    ("observation", "artifact"),
    [
        (seen(pixel=1), "a"),
        (seen(words="grasp the blue square"), "a"),
        (seen(words="grasp the red squares"), "a"),
        (seen(state=(1.0, 2.5)), "a"),
        (seen(state=(1.0,)), "a"),
        (seen(shape=(2, 8, 3)), "a"),
        (seen(), "b"),
    ],
)
def test_anything_else_is_another_observation(observation, artifact):
    assert key_of(observation, artifact) != key_of(seen(), "a")


def test_an_answer_that_is_changed_changes_nobody_elses():
    cache = DataCache()
    cache.put(b"k", ACTIONS)
    cache.get(b"k")[:] = 7

    assert cache.get(b"k").max() == 1


def test_old_answers_do_not_count():
    now = [0.0]
    cache = DataCache(max_age=10, clock=lambda: now[0])
    cache.put(b"k", ACTIONS)
    now[0] = 10.5

    assert cache.get(b"k") is None
    assert (len(cache), cache.bytes) == (0, 0)


def test_it_stays_within_its_bytes_and_drops_what_was_used_longest_ago():
    cache = DataCache(max_bytes=3 * (ACTIONS.nbytes + 512))
    for key in (b"1", b"2", b"3"):
        cache.put(key, ACTIONS)
    cache.get(b"1")
    cache.put(b"4", ACTIONS)

    assert cache.get(b"2") is None
    assert all(cache.get(key) is not None for key in (b"1", b"3", b"4"))
    assert cache.bytes <= 3 * (ACTIONS.nbytes + 512)


def test_what_is_larger_than_the_cache_is_not_kept():
    cache = DataCache(max_bytes=100)
    cache.put(b"k", ACTIONS)

    assert len(cache) == 0


def test_the_same_key_twice_counts_once():
    cache = DataCache()
    cache.put(b"k", ACTIONS)
    size = cache.bytes
    cache.put(b"k", ACTIONS)

    assert cache.bytes == size
