"""A device that looks at a folder of pictures, alone and as a whole agent."""

import msgspec
import numpy as np
import pytest

from agent.inference.policy_card import read
from agent.sources.folder import Folder
from tests.agent.inference.pictures import seeing_variant
from tests.agent.sources.test_images import gradient, huge_png, saved
from tests.agent.variants import card, variant
from tests.agent.waiting import wait_for

SEEING = read(msgspec.json.encode(card(**seeing_variant()["card_changes"])))
FEELING = read(msgspec.json.encode(card()))


def test_pictures_come_in_the_order_of_their_names_and_then_again(tmp_path):
    for number, name in enumerate(("b.png", "a.npy", "c.ppm")):
        image = np.full((4, 4, 3), number, np.uint8)
        if name.endswith("npy"):
            np.save(tmp_path / name, image)
        elif name.endswith("ppm"):
            (tmp_path / name).write_bytes(b"P6 4 4 255\n" + image.tobytes())
        else:
            saved(tmp_path / name, image)
    (tmp_path / "notes.txt").write_text("not ours")
    source = Folder(tmp_path, SEEING, "look")

    seen = [source.observe() for _ in range(4)]
    assert [int(each.image[0, 0, 0]) for each in seen] == [1, 0, 2, 1]
    assert {each.instruction for each in seen} == {"look"}


def test_a_picture_that_comes_is_seen_and_one_that_goes_is_not_missed(tmp_path, caplog):
    saved(tmp_path / "a.png", gradient())
    source = Folder(tmp_path, SEEING)
    source.observe()
    saved(tmp_path / "b.png", gradient())
    source.observe()
    (tmp_path / "b.png").unlink()
    source.observe()

    assert "b.png is left out" in caplog.text


def test_a_hostile_picture_is_said_once_and_left_out(tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(huge_png(100_000))
    saved(tmp_path / "b.png", gradient())
    source = Folder(tmp_path, SEEING)
    for _ in range(5):
        assert source.observe().image.shape == (6, 8, 3)

    assert caplog.text.count("10000000000 pixels") == 1


def test_an_empty_folder_says_what_it_wants(tmp_path):
    with pytest.raises(ValueError, match=r"\.npz"):
        Folder(tmp_path, SEEING).observe()
    with pytest.raises(ValueError, match="there is no folder"):
        Folder(tmp_path / "none", SEEING)


def test_a_model_that_takes_a_state_gets_it_from_npz_files(tmp_path, caplog):
    saved(tmp_path / "a.png", gradient())
    np.savez(tmp_path / "b.npz", image=gradient(), state=np.arange(4))
    source = Folder(tmp_path, FEELING)
    assert source.observe().state.tolist() == [0, 1, 2, 3]
    assert "the model takes a state of 4 numbers" in caplog.text


def test_a_whole_agent_acts_on_a_folder(server, agent, tmp_path):
    pictures, made = tmp_path / "pictures", variant(2.0)
    pictures.mkdir()
    for number in range(3):
        np.savez(pictures / f"{number}.npz", image=gradient(), state=np.arange(4) + number)
    agent(source=f"folder:{pictures}")
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active")

    sample = wait_for("decisions", lambda: [s for t in server.telemetry for s in t.samples if s.decisions])[-1]
    assert (sample.errors, sample.not_finite, sample.manifest) == (0, 0, made.digest)
