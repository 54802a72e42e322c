"""`python -m tests.agent.hanging PART`: the agent, in which one part stands still and is known to after two seconds.

With `nothing` it is the agent as it is.
"""

import sys
import time

from agent import cli
from agent.deployment import machine, power_on
from agent.inference import control_loop
from agent.inference.inference_engine import InferenceEngine
from agent.link import connection, telemetry
from agent.monitor import Monitor


def _stand_still(*_: object, **__: object) -> None:
    time.sleep(1000)


PARTS = {"telemetry": telemetry, "deployment": machine, "link": connection, "control": control_loop}


def main(part: str) -> None:
    if part in PARTS:
        PARTS[part].STANDSTILL_SECONDS = 2.0  # type: ignore[attr-defined]
    if part == "telemetry":
        Monitor.sample = _stand_still  # type: ignore[assignment]
    if part == "deployment":
        power_on.PowerOn.resume = _stand_still  # type: ignore[method-assign]
    if part == "link":
        connection.Connection._connected = _stand_still
    if part == "control":
        InferenceEngine.process = _stand_still
    sys.exit(cli.main(["run"]))


if __name__ == "__main__":
    main(sys.argv[1])
