"""A camera as a source: it looks and decides, and carries nothing out unless a subclass does."""

from pathlib import Path

import numpy as np

from agent.inference.policy_card import Card, Floats, ImageInput, Observation, StateInput
from agent.source import Finished
from agent.sources import images, v4l2

#: Asked of the camera where the card names no image; else the smallest common size that holds the card's.
SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080))


class CameraSource:
    """Frames of a V4L2 camera with the words of the settings. Holds to agent.source.Source.

    A robot's own source takes this class further: `act` carries actions out, and `state` tells its state.
    """

    def __init__(self, path: Path, card: Card, instruction: str = "") -> None:
        sides = [(spec.width, spec.height) for spec in card.inputs.values() if isinstance(spec, ImageInput)]
        width, height = max((side[0] for side in sides), default=1), max((side[1] for side in sides), default=1)
        size = next((each for each in SIZES if each[0] >= width and each[1] >= height), SIZES[-1])
        self._camera = v4l2.Camera(path, *size)
        self._instruction = instruction
        wanted = max((spec.size for spec in card.inputs.values() if isinstance(spec, StateInput)), default=0)
        if wanted and type(self).state is CameraSource.state:
            raise ValueError(
                f"the model takes a state of {wanted} numbers, which a camera cannot tell: write a source of your own "
                "(agent/README.md)"
            )

    def observe(self) -> Observation:
        """What the camera sees now. Raises CameraError or ImageError."""
        data, shape = self._camera.frame(), self._camera.shape
        if shape.pixels == v4l2.MJPEG:
            image = images.decoded(data, "a frame of the camera")
        else:
            frame = np.frombuffer(data, np.uint8)
            if frame.size < shape.height * shape.width * 2:
                raise images.ImageError(f"a frame of the camera has {frame.size} bytes, too few")
            image = images.from_yuyv(frame, shape.height, shape.width)
        return Observation(image, self._instruction, self.state())

    def state(self) -> Floats:
        """The robot's own state, float32 [n]; a camera alone has none."""
        return np.zeros(0, np.float32)

    def act(self, actions: Floats) -> Finished:
        return Finished()
