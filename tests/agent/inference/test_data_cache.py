"""A decision is found again only when everything it depends on is the same."""

import threading

import numpy as np
import pytest

from agent.inference.data_cache import PAUSE, TRIAL, DataCache, key_of
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


def test_many_threads_use_it_at_once_and_it_stays_within_its_bytes():
    cache, problems = DataCache(max_bytes=20 * (ACTIONS.nbytes + 512)), []

    def work(number: int) -> None:
        random = np.random.default_rng(number)
        try:
            for step in range(2000):
                key = bytes([random.integers(0, 64)])
                found = cache.get(key)
                if found is None:
                    cache.put(key, ACTIONS * key[0])
                else:
                    assert found.max() == key[0]
                if step % 500 == 499:
                    cache.clear()
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert problems == []
    assert cache.bytes == len(cache) * (ACTIONS.nbytes + 512) <= 20 * (ACTIONS.nbytes + 512)
    assert cache.lookups == 8000


def test_it_can_be_made_smaller_and_turned_off():
    cache = DataCache()
    for key in (b"1", b"2"):
        cache.put(key, ACTIONS)
    cache.limit(ACTIONS.nbytes + 512)
    assert (len(cache), cache.pays()) == (1, True)

    cache.limit(0)
    assert (len(cache), cache.bytes, cache.pays()) == (0, 0, False)
    cache.put(b"3", ACTIONS)
    assert len(cache) == 0


def looks(cache, count, seconds, hits=0.0) -> None:
    """So many look-ups of `seconds` each, of which the share `hits` is known."""
    for number in range(count):
        if cache.pays():
            cache.spent(seconds, hit=number % 10 < 10 * hits)


def test_it_looks_nothing_up_for_a_while_where_that_costs_more_than_it_saves():
    cache = DataCache()
    cache.decided(1e-3)
    looks(cache, TRIAL, 1e-3)
    assert [cache.pays() for _ in range(PAUSE)] == [False] * PAUSE
    assert cache.pays(), "then it tries again"


@pytest.mark.parametrize(
    ("decision", "seconds", "hits"),
    [(1.0, 1e-3, 0.0), (1e-3, 1e-3, 1.0), (1e-3, 1e-4, 0.1)],
    ids=["nothing beside a large model", "the scene stands still", "a tenth is known"],
)
def test_it_goes_on_where_it_pays(decision, seconds, hits):
    cache = DataCache()
    cache.decided(decision)
    looks(cache, 3 * TRIAL, seconds, hits)

    assert cache.pays()


def test_another_kind_of_numbers_is_another_observation():
    one = Observation(seen().image, "", np.array([1, 2], np.float32))
    other = Observation(seen().image, "", np.array([1, 2], np.float32).view(np.int32))

    assert key_of(one, "a") != key_of(other, "a")


def test_a_view_of_an_image_is_what_it_shows():
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    shown = Observation(image[::-1, ::2], "", np.zeros(0, np.float32))
    copied = Observation(image[::-1, ::2].copy(), "", np.zeros(0, np.float32))

    assert key_of(shown, "a") == key_of(copied, "a")


def test_another_model_is_tried_anew():
    cache = DataCache()
    cache.decided(1e-3)
    looks(cache, TRIAL, 1e-3)
    assert not cache.pays()
    cache.clear()

    assert cache.pays()
