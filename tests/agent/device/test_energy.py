"""Power is measured where a board tells, else estimated, and says which."""

import sys
import types

import pytest

from agent.device import energy
from agent.device.energy import PowerSensor
from agent.wire.hardware import DeviceClass
from tests.agent.device import trees


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rapl_gives_the_mean_since_the_last_look_of_packages_only(tmp_path):
    root, clock = trees.write(tmp_path, trees.INDUSTRIAL_PC), Clock()
    sensor = PowerSensor(root, clock)
    clock.now += 2
    trees.write(root, {"sys/class/powercap/intel-rapl:0/energy_uj": "31000000\n"})

    assert sensor.watts() == 15.0


def test_rapl_counts_over_its_range(tmp_path):
    root, clock = trees.write(tmp_path, trees.INDUSTRIAL_PC), Clock()
    trees.write(root, {"sys/class/powercap/intel-rapl:0/energy_uj": "262143328850"})
    sensor = PowerSensor(root, clock)
    clock.now += 1
    trees.write(root, {"sys/class/powercap/intel-rapl:0/energy_uj": "5000000"})

    assert sensor.watts() == pytest.approx(5.0)


def test_an_ina3221_gives_the_first_rail(tmp_path):
    assert PowerSensor(trees.write(tmp_path, trees.JETSON_ORIN_NANO), Clock()).watts() == pytest.approx(6.2)


def test_a_power_input_is_preferred_over_volts_and_amperes(tmp_path):
    root = trees.write(tmp_path, {**trees.JETSON_ORIN_NANO, "sys/class/hwmon/hwmon1/power1_input": "7100000\n"})

    assert PowerSensor(root, Clock()).watts() == pytest.approx(7.1)


def test_a_battery_tells_while_it_discharges(tmp_path):
    root = trees.write(tmp_path, trees.LAPTOP_ON_BATTERY)
    assert PowerSensor(root, Clock()).watts() == 8.75

    trees.write(root, {"sys/class/power_supply/BAT0/status": "Charging\n"})
    assert PowerSensor(root, Clock()).watts() is None


def test_a_battery_with_volts_and_amperes_only(tmp_path):
    battery = {
        "sys/class/power_supply/BAT1/status": "Discharging",
        "sys/class/power_supply/BAT1/current_now": "500000",
        "sys/class/power_supply/BAT1/voltage_now": "12000000",
    }

    assert PowerSensor(trees.write(tmp_path, battery), Clock()).watts() == 6.0


def test_a_graphics_cards_own_sensor_is_not_the_boards(tmp_path):
    card = {"sys/class/hwmon/hwmon3/name": "amdgpu\n", "sys/class/hwmon/hwmon3/power1_input": "35000000\n"}

    assert PowerSensor(trees.write(tmp_path, card), Clock()).watts() is None


def test_an_older_jetson_tells_milliwatts_of_its_first_rail(tmp_path):
    folder = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    jetson = {f"{folder}/in_power0_input": "4310\n", f"{folder}/in_power1_input": "1200\n"}

    assert PowerSensor(trees.write(tmp_path, jetson), Clock()).watts() == pytest.approx(4.31)


def nvml(*milliwatts: int | None) -> types.ModuleType:
    """A management library that knows these cards; None is one that does not tell."""
    made = types.ModuleType("pynvml")
    made.NVMLError = type("NVMLError", (Exception,), {})

    def power(handle: int) -> int:
        if milliwatts[handle] is None:
            raise made.NVMLError("not supported")
        return milliwatts[handle]

    made.nvmlInit = lambda: None
    made.nvmlDeviceGetCount = lambda: len(milliwatts)
    made.nvmlDeviceGetHandleByIndex = lambda number: number
    made.nvmlDeviceGetPowerUsage = power
    return made


def test_rapl_counts_processors_so_the_cards_power_is_added(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(60_500, None))
    root, clock = trees.write(tmp_path, trees.INDUSTRIAL_PC), Clock()
    sensor = PowerSensor(root, clock)
    clock.now += 2
    trees.write(root, {"sys/class/powercap/intel-rapl:0/energy_uj": "31000000\n"})

    assert sensor.watts() == pytest.approx(15.0 + 60.5)


def test_an_estimate_from_the_processors_load_leaves_the_cards_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(60_500))
    card = {"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: RTX\n"}
    sensor = PowerSensor(trees.write(tmp_path, card), Clock())

    assert (sensor.watts(), sensor.unseen()) == (None, 60.5)


def test_without_its_library_a_card_is_not_counted(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert PowerSensor(trees.write(tmp_path, trees.INDUSTRIAL_PC), Clock()).unseen() == 0


def test_a_board_that_tells_nothing(tmp_path):
    assert PowerSensor(trees.write(tmp_path, trees.RASPBERRY_PI_4), Clock()).watts() is None


@pytest.mark.parametrize(("share", "watts"), [(0.0, 2.7), (0.5, 4.55), (1.0, 6.4), (1.7, 6.4), (-0.1, 2.7)])
def test_the_estimate_lies_between_idle_and_full(share, watts):
    assert energy.estimated_watts(DeviceClass.EMBEDDED, share) == pytest.approx(watts)


def test_joules_of_an_action():
    # 4 W, half of it the agent's, over 5 s, for 25 decisions
    assert energy.joules_per_action(4.0, 0.5, 5.0, 25) == pytest.approx(0.4)
    assert energy.joules_per_action(4.0, 0.5, 5.0, 0) is None
