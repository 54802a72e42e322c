"""Keeps the agent within its budgets and in its mode, and tells when the hardware has changed.

The thread's loop: look at the usage; let the rules decide (`resource_manager.decide`); act on what is in force
(`plan`); report it. Without budgets it only looks at the hardware, twice a minute.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from agent.device.device_adapter import DeviceAdapter, Usage
from agent.device.resource_manager import Can, Load, Name, Standing, decide
from agent.pulse import Pulse
from agent.wire import restraints as words
from agent.wire.hardware import Hardware
from agent.wire.messages import Config, Restraint

log = logging.getLogger(__name__)

Mode = Literal["full", "slim", "hybrid"]

#: It never needs as long for one look, even where it waits for a model to be loaded again.
STANDSTILL_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two looks at the usage, at the hardware, and of usage that a decision is a mean of.

    haste makes the clock of the rules run faster; a test has no minutes.
    """

    look: float = 2.0
    hardware: float = 30.0
    window: float = 10.0
    haste: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What mode and restraints amount to. refusal: why other programs are answered for a share of the time only."""

    cache: bool = True
    history: bool = True
    threads: int = 1
    pace: float = 1.0
    answered: float = 1.0
    refusal: str = ""


def plan(mode: Mode, standing: Standing, threads: int) -> Plan:
    """threads: as many as a decision has without restraints in full mode. slim: no cache, no history, one thread."""
    slim = mode == "slim"
    refusing = next((each for each in standing.restraints if each.step == "refuse"), None)
    most = 1 if slim else threads
    return Plan(
        cache=not slim and not standing.has("drop_caches"),
        history=not slim,
        threads=min(most, int(standing.level("fewer_threads", most))),
        pace=standing.level("lower_rate", 1.0),
        answered=refusing.level if refusing else 1.0,
        refusal=words.why(refusing) if refusing else "",
    )


@dataclass(frozen=True, slots=True)
class Hands:
    """What the governor acts with, and what it asks. history and threads say whether it is so now."""

    cache: Callable[[bool], None]
    history: Callable[[bool], bool]
    threads: Callable[[int], bool]
    pace: Callable[[float], None]
    answered: Callable[[float, str], None]
    can: Callable[[], Can]
    #: Bytes that what runs takes when it is loaded once more, beside itself.
    again: Callable[[], int]


class Governor(threading.Thread):
    """`configure` may be called from any thread.

    on_change gets the restraints in force and the mode that holds, on_hardware facts that have changed. threads gives
    as many as a decision has without restraints.
    """

    def __init__(
        self,
        *,
        device: DeviceAdapter,
        hands: Hands,
        threads: Callable[[], int],
        on_change: Callable[[tuple[Restraint, ...], Mode], None],
        on_hardware: Callable[[Hardware], None],
        pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="governor", daemon=True)
        self._device = device
        self._hands = hands
        self._threads = threads
        self._on_change = on_change
        self._on_hardware = on_hardware
        self._pace = pace or Pace()
        self._clock = clock
        self._steady_clock = steady_clock
        self._config = Config()
        self._mode: Mode = "full"
        self._standing = Standing()
        self._done: Plan | None = None
        self._threads_stay = False
        self._watching = False
        self._loads: deque[tuple[float, dict[Name, Load]]] = deque()
        self._hardware_at = steady_clock()
        self._wake = threading.Condition()
        self._stopping = False
        self.pulse = Pulse("governor", STANDSTILL_SECONDS, self)

    # --- Any thread ---

    def configure(self, config: Config) -> None:
        """Mode and budgets, as they were settled from afar."""
        with self._wake:
            self._config = config
            self._wake.notify_all()

    def settle(self) -> None:
        """Act on the settings at once; before the thread has started, so that the first model finds them."""
        self._act(self._config)

    def stop(self, seconds: float = 1.0) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self.is_alive():
            self.join(seconds)

    # --- The thread ---

    def run(self) -> None:
        mode = self._config.mode
        while not self._stopping:
            self.pulse.beat()
            config = self._config
            try:
                if config.mode != mode:
                    self._start_anew()  # what a step had left belongs to the other mode
                    mode = config.mode
                self._look(config)
                settled = self._act(config)
                self._look_at_hardware()
            except Exception:
                log.exception("the budgets could not be looked at")
                settled = False
            seconds = self._pace.look if self._watching or not settled else self._pace.hardware
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._config is not config, seconds)  # noqa: B023

    def _start_anew(self) -> None:
        self._standing, self._watching, self._threads_stay = Standing(), False, False

    def _look(self, config: Config) -> None:
        budgets, now = _budgets(config), self._steady_clock()
        if not budgets and not self._standing.restraints:
            self._watching = False
            return
        usage, ticks = self._device.usage(), now * self._pace.haste
        if not self._watching:  # what was used before anybody watched says nothing about now
            self._watching, self._standing = True, replace(self._standing, changed=ticks)
            self._loads.clear()
            return
        self._loads.append((ticks, _loads(usage, budgets)))
        while self._loads[0][0] < ticks - self._pace.window:
            self._loads.popleft()
        before = self._standing
        self._standing = decide(before, self._mean(budgets), self._can(usage), ticks, self._clock())
        if self._standing.restraints != before.restraints:
            self._loads.clear()  # what was before the step says nothing about its effect
            _tell(before, self._standing)

    def _mean(self, budgets: dict[Name, float]) -> dict[Name, Load]:
        """Of what was seen since the last step, at most the window; a budget for which nothing is seen is none."""
        means: dict[Name, Load] = {}
        for name, limit in budgets.items():
            seen = [loads[name] for _, loads in self._loads if name in loads]
            if seen:
                means[name] = Load(sum(load.used for load in seen) / len(seen), limit, seen[-1].source)
        return means

    def _can(self, usage: Usage) -> Can:
        """As the agent says; but for other threads there has to be room for the model a second time."""
        can = self._hands.can()
        if can.threads > 1 and (
            self._threads_stay or self._hands.again() > max(0, usage.memory_total - usage.memory_used)
        ):
            return replace(can, threads=1)
        return can

    def _act(self, config: Config) -> bool:
        """Bring about what is in force, and report it. Whether all of it holds now."""
        wanted, done, hands = plan(config.mode, self._standing, self._threads()), self._done, self._hands
        if done is None or wanted.cache != done.cache:
            hands.cache(wanted.cache)
        if done is None or wanted.pace != done.pace:
            hands.pace(wanted.pace)
        if done is None or (wanted.answered, wanted.refusal) != (done.answered, done.refusal):
            hands.answered(wanted.answered, wanted.refusal)
        threads, history = hands.threads(wanted.threads), hands.history(wanted.history)
        self._done = wanted
        if not threads and self._standing.has("fewer_threads"):
            # It does not load again. What is not so is not reported; other steps are left.
            kept = tuple(each for each in self._standing.restraints if each.step != "fewer_threads")
            self._standing, self._threads_stay = replace(self._standing, restraints=kept), True
        if threads and history:
            self._mode = "slim" if config.mode == "slim" else "full"
        self._on_change(self._standing.restraints, self._mode)
        return threads and history

    def _look_at_hardware(self) -> None:
        now = self._steady_clock()
        if now - self._hardware_at >= self._pace.hardware:
            self._hardware_at = now
            before, found = self._device.hardware(), self._device.look_again()
            if found != before:
                log.info("the hardware has changed: %s", found)
                self._on_hardware(found)


def _budgets(config: Config) -> dict[Name, float]:
    """Those that an operator has set, in their units."""
    every: dict[Name, float] = {
        "memory": config.memory_budget,
        "cpu": config.cpu_budget,
        "power": config.power_budget,
        "temperature": config.temperature_budget,
    }
    return {name: limit for name, limit in every.items() if limit}


def _loads(usage: Usage, budgets: dict[Name, float]) -> dict[Name, Load]:
    """The agent's own memory and processor time, the device's power and temperature; what is not seen is no load."""
    used: dict[Name, float | None] = {
        "memory": usage.agent_memory,
        "cpu": usage.cpu_percent * usage.agent_share,
        "power": usage.power,
        "temperature": usage.temperature,
    }
    return {
        name: Load(value, limit, usage.power_source if name == "power" else "")
        for name, limit in budgets.items()
        if (value := used[name]) is not None
    }


def _tell(before: Standing, after: Standing) -> None:
    for each in after.restraints:
        if not before.has(each.step) or before.level(each.step, 0) != each.level:
            log.warning("this device %s, because %s", words.doing(each), words.why(each))
    for each in before.restraints:
        if not after.has(each.step):
            log.info("this device %s", words.ENDED[each.step])
