import subprocess
import sys

import numpy as np
import torch

from agent.inference.policy_card import Codec
from fleet.demo.evaluator import evaluate
from fleet.demo.policy import load
from fleet.demo.train import Pointer, Scenes, scenes
from fleet.demo.world import HORIZON, SELECTION, TRAINING, Tabletop


def test_training_makes_weights_that_the_policy_loads(tmp_path):
    command = [sys.executable, "-m", "fleet.demo.train", "--steps", "2", "--episodes", "2", "--out", str(tmp_path)]
    command += ["--final", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2/2" in done.stderr
    assert "of 4 fresh episodes succeed" in done.stdout
    load(tmp_path / "tabletop_policy.safetensors")
    with np.load(tmp_path / "evaluation.npz", allow_pickle=False) as file:
        assert file["image"].shape == (64, 3, 64, 64)


def test_a_few_steps_on_one_batch_lower_the_loss(card):
    torch.manual_seed(0)
    model = Pointer()
    batch = Scenes(*(torch.from_numpy(array) for array in scenes(card, TRAINING[:16])))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        loss, _ = model.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_experts_labels_solve_the_task_when_they_are_carried_out(card):
    """What the policy is taught is right: a 'policy' that knows the labels never fails."""
    twin = Tabletop([SELECTION[0]])
    answers = []
    while not twin.done[0] and len(answers) < HORIZON:
        chunk = twin.expert_chunk()
        answers.append(chunk)
        for step in range(card.actions.execute):
            twin.step(chunk[:, step])
    left = iter(answers)
    assert evaluate(lambda feeds: next(left), Codec(card), 1, 0).all()
