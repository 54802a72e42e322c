"""Where a mark's short label goes, so that it covers no mark, no error bar and no other label. Pure geometry."""

from collections.abc import Sequence
from dataclasses import dataclass

#: Pixels of the plot that labels are placed in: a little less than the narrowest one, so that wider ones have room.
WIDTH, HEIGHT = 270.0, 260.0
#: Of one digit at 11 px, and of a line of them.
DIGIT, LINE = 7.0, 12.0
#: Plotly's names of the places around a mark, the best first: above and below a mark stands its error bar.
PLACES = (
    ("middle right", 1, 0),
    ("middle left", -1, 0),
    ("top right", 1, -1),
    ("bottom right", 1, 1),
    ("top left", -1, -1),
    ("bottom left", -1, 1),
    ("top center", 0, -1),
    ("bottom center", 0, 1),
)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Mark:
    """x and y from 0 to 1 of the plot, right and down; top and bottom of its error bar likewise; size in pixels."""

    x: float
    y: float
    top: float
    bottom: float
    size: float
    label: str


def places(marks: Sequence[Mark]) -> list[str]:
    """For each mark the place of its label: the one that covers least of what is drawn, the better one of equals."""
    drawn = [box for mark in marks for box in _ink(mark)]
    chosen = []
    for mark in marks:
        boxes = [(name, _label(mark, across, down)) for name, across, down in PLACES]
        costs = [sum(_common(box, other) for other in drawn) + _outside(box) for _, box in boxes]
        best = costs.index(min(costs))
        name, box = boxes[best]
        drawn.append(box)
        chosen.append(name)
    return chosen


def _ink(mark: Mark) -> tuple[Box, Box]:
    """What the mark itself covers, and its error bar."""
    x, y, half = mark.x * WIDTH, mark.y * HEIGHT, mark.size / 2
    return (x - half, y - half, x + half, y + half), (x - 1, mark.top * HEIGHT, x + 1, mark.bottom * HEIGHT)


def _label(mark: Mark, across: int, down: int) -> Box:
    """Plotly puts a label beside the mark's box, as far as the mark is large."""
    width, half = DIGIT * len(mark.label), mark.size / 2
    x, y = mark.x * WIDTH + across * (half + width / 2), mark.y * HEIGHT + down * (half + LINE / 2)
    return x - width / 2, y - LINE / 2, x + width / 2, y + LINE / 2


def _common(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _outside(box: Box) -> float:
    """A label that leaves the plot is worse than one that touches something."""
    inside = _common(box, (0.0, 0.0, WIDTH, HEIGHT))
    return 4 * ((box[2] - box[0]) * (box[3] - box[1]) - inside)
