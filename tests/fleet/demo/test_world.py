import numpy as np
import pytest

from fleet.demo.world import DEVICES, EVALUATION, HORIZON, SELECTION, TRAINING, VOCABULARY, Tabletop, expert_actions


def test_the_expert_never_fails():
    world = Tabletop(EVALUATION[:500])
    for _ in range(HORIZON):
        world.step(world.expert())
    assert world.success.all()


def test_the_experts_chunks_succeed_when_only_half_of_each_is_carried_out():
    world = Tabletop(EVALUATION[500:600])
    for _ in range(0, HORIZON, 4):
        chunk = world.expert_chunk()
        for step in range(4):
            world.step(chunk[:, step])
    assert world.success.all()


def test_a_world_does_not_depend_on_its_neighbours():
    alone, together = Tabletop([EVALUATION[7]]), Tabletop(EVALUATION[:16])
    for _ in range(10):
        assert (alone.images()[0] == together.images(np.array([3, 7]))[1]).all()
        alone.step(alone.expert())
        together.step(together.expert())
        assert (alone.state[0] == together.state[7]).all()


def test_the_camera_gives_bytes_and_shows_the_target():
    world = Tabletop(EVALUATION[:8])
    images = world.images()
    assert images.shape == (8, 64, 64, 3)
    assert images.dtype == np.uint8
    x, y = (world.positions[0, 0] * 64).astype(int)
    around = images[0, y - 1 : y + 2, x - 1 : x + 2].astype(float).mean((0, 1))
    assert np.abs(around - world.background[0] * world.light[0] * 255).max() > 40


def test_lifting_the_wrong_object_ends_the_episode_without_success():
    world = Tabletop(EVALUATION[:50])
    for _ in range(HORIZON):
        world.step(expert_actions(world.state, world.positions[:, 1], world.held == 1))
    assert world.done.all()
    assert not world.success.any()


def test_only_the_target_fits_the_instruction():
    world = Tabletop(EVALUATION[:300])
    assert all(word in VOCABULARY for text in world.instructions for word in text.split())
    for other in (1, 2, 3):
        same = (world.colors[:, 0] == world.colors[:, other]) & (world.shapes[:, 0] == world.shapes[:, other])
        assert not same.any()


@pytest.mark.parametrize("first", range(4))
def test_the_seeds_of_training_selection_evaluation_and_devices_are_apart(first):
    ranges = [TRAINING, SELECTION, EVALUATION, DEVICES]
    for other in ranges[first + 1 :]:
        assert ranges[first][-1] < other[0]
