"""The tabletop: "grasp the red square" with a camera, an instruction and a gripper. Many worlds at once, numpy only.

World i is wholly determined by its seed and the actions it is given: not by how many worlds stand beside it, so that
one device, a batch of training scenes and 4,000 paired episodes all see the same world for the same seed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Places = NDArray[np.intp]

#: Seeds, kept apart so that nothing is judged on what it was trained or chosen with.
TRAINING = range(0, 10**9)
SELECTION = range(10**9, 2 * 10**9)
EVALUATION = range(2 * 10**9, 3 * 10**9)
DEVICES = range(3 * 10**9, 4 * 10**9)

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.1, 0.1),
    "green": (0.1, 0.7, 0.15),
    "blue": (0.1, 0.2, 0.85),
    "yellow": (0.9, 0.85, 0.1),
    "purple": (0.6, 0.1, 0.7),
}
SHAPES = ("square", "circle", "triangle")
TEMPLATES = (
    "grasp the {color} {shape}",
    "pick up the {color} {shape}",
    "grab the {color} {shape}",
    "lift the {color} {shape} please",
    "take {color} {shape}",
)
#: Place 0 is padding.
VOCABULARY = ("<pad>", "grasp", "pick", "up", "grab", "lift", "take", "the", "please", *COLORS, *SHAPES)

IMAGE = 64
#: x, y, height, three rotations, and 1 when the gripper is closed.
STATE = 7
ACTION = 7
#: Actions in one decision; the policy card says how many of them are carried out before the next.
CHUNK = 8
#: Steps after which an episode has failed.
HORIZON = 40
OBJECTS = 4

_COLOR_NAMES = tuple(COLORS)
_PALETTE = np.array(list(COLORS.values()), np.float32)
#: How far an action of 1 moves each of the first six numbers of the state.
_STEP = np.array([0.08, 0.08, 0.15, 0.2, 0.2, 0.2], np.float32)
_RADIUS = 0.065
_SPACING = 0.17
_REACH = 0.045
_NOISE = 0.015
_CENTRES = (np.arange(IMAGE, dtype=np.float32) + 0.5) / IMAGE


class Tabletop:
    """`n = len(seeds)` worlds. Object 0 is the one asked for; object 1 has its colour, object 2 its shape.

    state float32 [n, 7], instructions n strings, done and success bool [n]. A finished world no longer moves.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._random = [np.random.default_rng(seed) for seed in seeds]
        scenes = [_scene(random) for random in self._random]
        self.positions: Floats = np.stack([scene["positions"] for scene in scenes])
        self.colors: Places = np.stack([scene["colors"] for scene in scenes])
        self.shapes: Places = np.stack([scene["shapes"] for scene in scenes])
        self.background: Floats = np.stack([scene["background"] for scene in scenes])
        self.light: Floats = np.stack([scene["light"] for scene in scenes])
        self.state: Floats = np.stack([scene["state"] for scene in scenes])
        self.instructions: list[str] = [scene["instruction"] for scene in scenes]
        self.held: Places = np.full(len(seeds), -1)
        self.done: Bools = np.zeros(len(seeds), bool)
        self.success: Bools = np.zeros(len(seeds), bool)

    def images(self, worlds: Places | None = None) -> NDArray[np.uint8]:
        """What the cameras of `worlds` (all, when None) see now: uint8 [n, 64, 64, 3] RGB, with fresh sensor noise."""
        chosen = np.arange(len(self.done)) if worlds is None else worlds
        canvas = np.empty((len(chosen), IMAGE, IMAGE, 3), np.float32)
        canvas[:] = self.background[chosen, None, None]
        for number in range(OBJECTS):
            place, shape = self.positions[chosen, number], self.shapes[chosen, number]
            inside = _silhouette(place, shape)
            canvas[inside] = np.repeat(_PALETTE[self.colors[chosen, number]], inside.sum((1, 2)), axis=0)
        canvas[_gripper(self.state[chosen])] = 0.05
        canvas *= self.light[chosen, None, None, None]
        for row, world in enumerate(chosen):
            canvas[row] += self._random[world].normal(0, _NOISE, canvas.shape[1:])
        return np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)

    def step(self, actions: Floats) -> None:
        """Carry out one action per world, float32 [n, 7] in −1 … 1. Lifting any object ends the episode."""
        self._move(actions, ~self.done)
        lifted = ~self.done & (self.held >= 0) & (self.state[:, 2] >= 0.45)
        self.success |= lifted & (self.held == 0)
        self.done |= lifted

    def expert(self) -> Floats:
        """What a perfect operator does now: float32 [n, 7]."""
        return expert_actions(self.state, self.positions[:, 0], self.held == 0)

    def expert_chunk(self) -> Floats:
        """The perfect operator's next actions, found on a copy of the worlds: float32 [n, 8, 7]."""
        state, positions, held = self.state, self.positions.copy(), self.held
        everywhere = np.ones(len(held), bool)
        chunk = np.zeros((len(held), CHUNK, ACTION), np.float32)
        for step in range(CHUNK):
            chunk[:, step] = expert_actions(state, positions[:, 0], held == 0)
            state, held = moved(state, chunk[:, step], positions, held, everywhere)
            _carry(positions, state, held)
        return chunk

    def wander(self) -> None:
        """Go on with a clumsy expert for 0 to 10 steps: where training scenes begin, the start of the task oftener."""
        early = np.array([random.random() < 0.55 for random in self._random])
        steps = np.array(
            [random.integers(*((0, 3) if e else (3, 11))) for random, e in zip(self._random, early, strict=True)]
        )
        clumsiness = np.array([0.15, 0.15, 0.15, 0, 0, 0, 0.045], np.float32)
        for step in range(int(steps.max())):
            slips = np.stack([random.normal(0, 1, ACTION) for random in self._random]).astype(np.float32)
            self._move(self.expert() + slips * clumsiness, step < steps)

    def _move(self, actions: Floats, active: Bools) -> None:
        self.state, self.held = moved(self.state, actions, self.positions, self.held, active)
        _carry(self.positions, self.state, self.held)


def expert_actions(state: Floats, target: Floats, holding: Bools) -> Floats:
    """Hover over the target [n, 2], go down, close, lift: float32 [n, 7]."""
    actions = np.zeros((len(state), ACTION), np.float32)
    away = target - state[:, :2]
    actions[:, :2] = np.clip(away / _STEP[:2], -1, 1)
    near = np.linalg.norm(away, axis=1) < 0.025
    actions[:, 2] = np.clip((np.where(near, 0.02, 0.35) - state[:, 2]) / _STEP[2], -1, 1)
    actions[:, 6] = -1
    down = near & (state[:, 2] < 0.06)
    actions[down, 6] = 1
    actions[down, 2] = 0
    closed = holding | (state[:, 6] > 0.5)
    actions[closed, 6] = 1
    actions[closed, :2] = 0
    actions[closed, 2] = np.clip((0.6 - state[closed, 2]) / _STEP[2], -1, 1)
    return actions


def moved(state: Floats, actions: Floats, positions: Floats, held: Places, active: Bools) -> tuple[Floats, Places]:
    """State [n, 7] and held object [n] (−1: none) after one action of the worlds that are `active`."""
    state, held = state.copy(), held.copy()
    actions = np.clip(actions, -1, 1)
    state[active, :6] += (actions[:, :6] * _STEP)[active]
    state[:, :3] = state[:, :3].clip(0, 1)
    distances = np.linalg.norm(positions - state[:, None, :2], axis=-1)
    closes = active & (actions[:, 6] > 0)
    grasps = closes & (state[:, 6] < 0.5) & (distances.min(1) < _REACH) & (state[:, 2] < 0.1)
    held[grasps] = distances.argmin(1)[grasps]
    opens = active & (actions[:, 6] <= 0)
    state[closes, 6] = 1
    state[opens, 6] = 0
    held[opens] = -1
    return state, held


def _carry(positions: Floats, state: Floats, held: Places) -> None:
    worlds = np.flatnonzero(held >= 0)
    positions[worlds, held[worlds]] = state[worlds, :2]


def _scene(random: np.random.Generator) -> dict[str, Any]:
    places: list[Floats] = []
    while len(places) < OBJECTS:
        place = random.uniform(0.1, 0.9, 2).astype(np.float32)
        if all(np.hypot(*(place - other)) > _SPACING for other in places):
            places.append(place)
    colors, shapes = random.integers(0, len(COLORS), OBJECTS), random.integers(0, len(SHAPES), OBJECTS)
    colors[1], shapes[1] = colors[0], (shapes[0] + random.integers(1, len(SHAPES))) % len(SHAPES)
    colors[2], shapes[2] = (colors[0] + random.integers(1, len(COLORS))) % len(COLORS), shapes[0]
    if colors[3] == colors[0] and shapes[3] == shapes[0]:
        colors[3] = (colors[3] + 1) % len(COLORS)
    state = np.zeros(STATE, np.float32)
    state[:2] = random.uniform(0.1, 0.9, 2)
    state[2] = random.uniform(0.5, 0.8)
    template = TEMPLATES[random.integers(len(TEMPLATES))]
    return {
        "positions": np.stack(places),
        "colors": colors,
        "shapes": shapes,
        "background": (0.75 + 0.1 * random.random(3)).astype(np.float32),
        "light": np.float32(random.uniform(0.85, 1.1)),
        "state": state,
        "instruction": template.format(color=_COLOR_NAMES[colors[0]], shape=SHAPES[shapes[0]]),
    }


def _silhouette(place: Floats, shape: Places) -> Bools:
    """Which pixels an object at `place` [n, 2] covers: bool [n, 64, 64]."""
    across = _CENTRES[None, None, :] - place[:, 0, None, None]
    down = _CENTRES[None, :, None] - place[:, 1, None, None]
    square = (abs(across) < _RADIUS * 0.88) & (abs(down) < _RADIUS * 0.88)
    circle = across * across + down * down < _RADIUS * _RADIUS
    triangle = (down < _RADIUS * 0.8) & (down > 2 * abs(across) * 0.9 - _RADIUS)
    kind = shape[:, None, None]
    return np.where(kind == 0, square, np.where(kind == 1, circle, triangle))


def _gripper(state: Floats) -> Bools:
    """Which pixels the gripper's cross covers: the higher it is, the larger it looks."""
    across = abs(_CENTRES[None, None, :] - state[:, 0, None, None])
    down = abs(_CENTRES[None, :, None] - state[:, 1, None, None])
    arm = (0.03 + 0.05 * state[:, 2])[:, None, None]
    return ((across < 0.012) & (down < arm)) | ((down < 0.012) & (across < arm))
