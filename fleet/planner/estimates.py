"""What can be said of a slim variant before it was made: what a search for the device's class aims at. Pure."""

from agent.wire.hardware import DeviceClass, Hardware, classify
from fleet.planner.situation import Situation


def class_of(given: Situation) -> DeviceClass | None:
    """The class that follows from cores and memory, as devices are classified; None where the memory is not known."""
    if given.memory is None:
        return None
    return classify(Hardware(cores=given.cores or 0, memory_bytes=int(given.memory), storage_bytes=0))


def slim_estimates(given: Situation, device_class: DeviceClass) -> dict[str, tuple[float, str]]:
    """Field → value and why, of what is not known of a slim variant but follows from the whole model.

    Bytes and memory shrink by the class's compression, computing by its pruning (fleet.optimizer.recipe.DEFAULTS): what
    a search aims at, not what it reaches.
    """
    from fleet.optimizer.recipe import DEFAULTS  # it brings numpy, and only this needs it

    recipe, words = DEFAULTS[device_class], device_class.replace("_", " ")
    shares = {
        "slim_memory": (given.need_memory, 1 - recipe.compression),
        "slim_size": (given.size, 1 - recipe.compression),
        "slim_tflops": (given.need_tflops, 1 - recipe.pruning),
    }
    return {
        name: (share * whole, f"{share:.0%} of the whole model, as a search for {words} devices aims at")
        for name, (whole, share) in shares.items()
        if whole is not None and getattr(given, name) is None
    }
