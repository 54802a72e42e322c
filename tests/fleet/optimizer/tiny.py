"""A policy of some thousand weights that really learned the tiny task.

It has what real ones have: a convolution, an embedding, attention, a plain and a gated feed-forward block.
"""

import zipfile
from pathlib import Path

import msgspec
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tests.fleet.optimizer.tiny_world import CARD, batches

WIDTH, HIDDEN = 32, 64


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(WIDTH, HIDDEN, bias=False), nn.Linear(WIDTH, HIDDEN, bias=False)
        self.down = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class TinyPolicy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vision = nn.Conv2d(3, WIDTH, 8)
        self.words = nn.Embedding(16, WIDTH)
        self.state = nn.Linear(3, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.feed = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH))
        self.gated = Gated()
        self.head = nn.Linear(WIDTH, 6)

    def forward(self, image: Tensor, tokens: Tensor, state: Tensor) -> Tensor:
        seen = self.vision(image).flatten(2).transpose(1, 2)
        every = self.norm(torch.cat([self.state(state)[:, None], self.words(tokens), seen], 1))
        heads = (each(every)[:, None] for each in (self.query, self.key, self.value))
        x = every + F.scaled_dot_product_attention(*heads)[:, 0]
        x = x + self.feed(x)
        x = x + self.gated(x)
        return torch.tanh(self.head(x[:, 0])).view(image.shape[0], 2, 3)


def trained(steps: int = 250) -> TinyPolicy:
    torch.manual_seed(3)
    torch.set_num_threads(1)  # so small a network is only slowed down by more
    policy, made = TinyPolicy(), batches(CARD, 64, 7)
    optimizer = torch.optim.Adam(policy.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        feeds = {name: torch.from_numpy(array) for name, array in next(made).items()}
        loss = F.mse_loss(policy(**feeds), feeds["state"][:, None].expand(-1, 2, -1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return policy.eval()


def save(policy: nn.Module, path: Path, *, free_batch: bool = True) -> Path:
    count = 2 if free_batch else 1
    example = (torch.rand(count, 3, 8, 8), torch.ones(count, 4, dtype=torch.int64), torch.rand(count, 3))
    shapes = {name: {0: torch.export.Dim("batch", min=1, max=512)} for name in ("image", "tokens", "state")}
    torch.export.save(torch.export.export(policy, example, dynamic_shapes=shapes if free_batch else None), path)
    return path


def rebuilt(source: Path, target: Path, changes: dict[str, bytes | None]) -> Path:
    """A copy of a .pt2 in which entries (named below the root folder) are replaced, added or, where None, left out."""
    left = dict(changes)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        root = old.namelist()[0].split("/")[0]
        for name in old.namelist():
            data = left.pop(name.split("/", 1)[1], old.read(name))
            if data is not None:
                new.writestr(name, data)
        for inner, data in left.items():
            if data is not None:
                new.writestr(f"{root}/{inner}", data)
    return target


def program_of(path: Path) -> dict:
    with zipfile.ZipFile(path) as file:
        name = next(each for each in file.namelist() if each.endswith("models/model.json"))
        return msgspec.json.decode(file.read(name))
