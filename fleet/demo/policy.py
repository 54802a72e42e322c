"""The demonstration's vision-language-action policy: 1.31 million parameters in plain torch.

python -m fleet.demo.policy DIR     writes tabletop.pt2, card.json and evaluation.npz: what a person uploads
"""

import argparse
import itertools
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from safetensors.torch import load_file
from torch import Tensor, nn

from fleet.demo.world import ACTION, CHUNK, IMAGE, STATE

ASSETS = Path(__file__).parent / "assets"
WEIGHTS = ASSETS / "tabletop_policy.safetensors"

WIDTH = 128
HEADS = 4
#: Room for more words than the tabletop knows.
WORDS = 64
INSTRUCTION = 8
#: The vision stem halves the image three times: this many image tokens.
PATCHES = (IMAGE // 8) ** 2
#: A device decides for itself alone; training and distillation want many at once.
MAX_BATCH = 4096


class Attention(nn.Module):
    """Multi-head attention from tokens [b, n, w] to a context [b, m, w]; mask bool, broadcast to [b, heads, n, m]."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.value, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        mixed = F.scaled_dot_product_attention(
            self._heads(self.query(tokens)), self._heads(self.key(context)), self._heads(self.value(context)), mask
        )
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(tokens.shape[0], -1, WIDTH))
        return out

    @staticmethod
    def _heads(tokens: Tensor) -> Tensor:
        return tokens.view(tokens.shape[0], -1, HEADS, WIDTH // HEADS).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(tokens)))
        return out


class Block(nn.Module):
    """Self-attention and feed-forward, each behind a norm and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_self, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.norm_feed, self.feed = nn.LayerNorm(WIDTH), FeedForward()

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        normed = self.norm_self(tokens)
        tokens = tokens + self.attention(normed, normed, mask)
        out: Tensor = tokens + self.feed(self.norm_feed(tokens))
        return out


class CrossBlock(Block):
    """A block that also looks at a context."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_cross, self.cross = nn.LayerNorm(WIDTH), Attention()

    def forward(self, tokens: Tensor, context: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]  # needs more
        normed = self.norm_self(tokens)
        tokens = tokens + self.attention(normed, normed)
        tokens = tokens + self.cross(self.norm_cross(tokens), context, mask)
        out: Tensor = tokens + self.feed(self.norm_feed(tokens))
        return out


class Vision(nn.Module):
    """Image float [b, 3, 64, 64] in 0 … 1 → tokens [b, 64, w]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, WIDTH)
        stem: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            stem += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.stem = nn.Sequential(*stem, nn.Conv2d(WIDTH, WIDTH, 1))
        self.position = nn.Parameter(torch.randn(1, PATCHES, WIDTH) * 0.02)
        self.blocks = nn.ModuleList([Block() for _ in range(2)])
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.stem(image).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)
        return out


class Language(nn.Module):
    """Word ids int64 [b, 8] → tokens [b, 8, w]; mask bool [b, 1, 1, 8], false where there is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        nn.init.normal_(self.words.weight, std=0.1)
        self.position = nn.Parameter(torch.randn(1, INSTRUCTION, WIDTH) * 0.02)
        self.blocks = nn.ModuleList([Block()])
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        tokens = self.words(ids) + self.position
        for block in self.blocks:
            tokens = block(tokens, mask)
        out: Tensor = self.norm(tokens)
        return out


class Grounding(nn.Module):
    """The instruction points at the image: one summary [b, w] of where it looks, and the pointing's logits [b, 64].

    Without a loss on this pointing the policy does not learn the task at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)

    def forward(self, language: Tensor, mask: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
        spoken = mask[:, 0, 0, :, None].to(language.dtype)
        meaning = (language * spoken).sum(1, keepdim=True) / spoken.sum(1, keepdim=True)
        logits = (self.query(meaning) * self.key(vision)).sum(-1) * WIDTH**-0.5
        return (torch.softmax(logits, -1)[..., None] * self.value(vision)).sum(1), logits


class Action(nn.Module):
    """Learned queries look at everything and become a chunk of actions [b, 8, 7] in −1 … 1."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, CHUNK, WIDTH) * 0.02)
        self.blocks = nn.ModuleList([CrossBlock() for _ in range(2)])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, ACTION))

    def forward(self, start: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        tokens = self.queries.expand(start.shape[0], -1, -1) + start
        for block in self.blocks:
            tokens = block(tokens, context, mask)
        return torch.tanh(self.head(self.norm(tokens)))


class TabletopPolicy(nn.Module):
    """image float [b, 3, 64, 64] in 0 … 1, tokens int64 [b, 8], state float [b, 7] → actions float [b, 8, 7]."""

    def __init__(self) -> None:
        super().__init__()
        self.vision, self.language, self.grounding = Vision(), Language(), Grounding()
        self.state = nn.Sequential(nn.Linear(STATE, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.action = Action()

    def forward(self, image: Tensor, tokens: Tensor, state: Tensor) -> Tensor:
        return self.explained(image, tokens, state)[0]

    def explained(self, image: Tensor, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The actions, what the instruction points at [b, w] and the pointing's logits [b, 64]: for training."""
        spoken = (tokens != 0)[:, None, None, :]
        vision, language = self.vision(image), self.language(tokens, spoken)
        pointed, logits = self.grounding(language, spoken, vision)
        start = (self.state(state) + pointed)[:, None, :]
        context = torch.cat([start, language, vision], 1)
        seen = torch.ones_like(vision[:, :, 0], dtype=torch.bool)[:, None, None, :]
        mask = torch.cat([torch.ones_like(spoken[..., :1]), spoken, seen], -1)
        return self.action(start, context, mask), pointed, logits


def load(weights: Path = WEIGHTS) -> TabletopPolicy:
    """The trained policy, ready to decide."""
    policy = TabletopPolicy()
    policy.load_state_dict(load_file(weights))
    return policy.eval()


def build_pt2(path: Path, weights: Path = WEIGHTS) -> Path:
    """Export the trained policy with torch.export: inputs image, tokens, state with any batch of 1 … 4,096."""
    save_pt2(load(weights), path)
    return path


def save_pt2(policy: nn.Module, path: Path) -> None:
    """Export a module with the tabletop's inputs. An example of two keeps the batch from being fixed."""
    example = (torch.rand(2, 3, IMAGE, IMAGE), torch.ones(2, INSTRUCTION, dtype=torch.int64), torch.rand(2, STATE))
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    free = {name: {0: batch} for name in ("image", "tokens", "state")}
    torch.export.save(torch.export.export(policy.eval(), example, dynamic_shapes=free), path)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Write the demonstration's model as a person would upload it.")
    arguments.add_argument("folder", type=Path)
    folder = arguments.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    build_pt2(folder / "tabletop.pt2")
    for name in ("card.json", "evaluation.npz"):
        shutil.copyfile(ASSETS / name, folder / name)


if __name__ == "__main__":
    main()
