"""What a model may use of a device, and what the agent does less of when a budget is pressed."""

import pytest

from agent.device import resource_manager
from agent.device.resource_manager import LONGEST, PATIENCE, RULES, Budget, Can, Load, Standing, decide
from agent.wire.hardware import GIB, Hardware

ALL = Can(cache=True, threads=4, rate=True, model=True, refuse=True)
MIB = 1024**2


def hardware(cores=4.0, memory=4 * GIB):
    return Hardware(cores=cores, memory_bytes=memory, storage_bytes=32 * GIB)


def test_a_model_may_take_three_quarters_of_the_memory():
    assert resource_manager.budget(hardware(), 9 * GIB) == Budget(3 * GIB, 9 * GIB, 4)


def test_or_what_an_operator_allows_where_that_is_less():
    assert resource_manager.budget(hardware(), GIB, memory=512 * MIB).memory == 512 * MIB
    assert resource_manager.budget(hardware(), GIB, memory=16 * GIB).memory == 3 * GIB


@pytest.mark.parametrize(
    ("cores", "wanted", "threads"), [(4, 0, 4), (4, 2, 2), (4, 16, 4), (1.5, 0, 1), (0.5, 0, 1), (0.5, 8, 1)]
)
def test_never_more_threads_than_whole_cores(cores, wanted, threads):
    assert resource_manager.budget(hardware(cores=cores), GIB, wanted).threads == threads


class Story:
    """Decides every two seconds on the loads it is told; `path` is each restraint as it was taken or undone."""

    def __init__(self, can: Can = ALL) -> None:
        self.can, self.now, self.standing = can, 1000.0, Standing()
        self.path: list[str] = []

    def live(self, seconds: float, **shares: float) -> "Story":
        """For so long, each budget is used to this share."""
        for _ in range(round(seconds / 2)):
            self.step({name: Load(share * 100, 100, "measured") for name, share in shares.items()})
        return self

    def step(self, loads) -> None:
        self.now += 2
        before, self.standing = self.standing, decide(self.standing, loads, self.can, self.now, 5e8 + self.now)
        old, new = ({each.step: each.level for each in each.restraints} for each in (before, self.standing))
        self.path += [
            f"+{step}" if step not in old else f"{step} {level:g}"
            for step, level in new.items()
            if old.get(step) != level
        ]
        self.path += [f"-{step}" for step in old if step not in new]
        assert len(set(old) ^ set(new)) <= 1, "one step at a time"

    @property
    def steps(self) -> list[str]:
        return [each.step for each in self.standing.restraints]


# --- Taking ---


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ("memory", ["drop_caches", "fewer_threads", "smaller_variant", "refuse"]),
        ("cpu", ["fewer_threads", "lower_rate", "smaller_variant", "refuse"]),
        ("power", ["fewer_threads", "lower_rate", "smaller_variant", "refuse"]),
        ("temperature", ["fewer_threads", "lower_rate", "smaller_variant", "refuse"]),
    ],
)
def test_each_budget_has_its_steps_in_their_order_and_then_no_more(budget, steps):
    story = Story().live(3000, **{budget: 1.5})

    assert story.steps == steps
    path = list(story.path)
    assert story.live(600, **{budget: 1.5}).path == path


def test_a_step_has_its_time_to_show_what_it_does():
    story = Story().live(2, power=1.5)
    assert story.path == ["+fewer_threads"]
    assert story.live(8, power=1.5).path == ["+fewer_threads"]
    assert story.live(2, power=1.5).path == ["+fewer_threads", "fewer_threads 1"]


def test_nothing_happens_between_ease_and_take():
    for budget, rule in RULES.items():
        story = Story()
        assert story.live(300, **{budget: rule.take}).path == []
        story.live(2, **{budget: rule.take + 0.01})
        assert len(story.path) == 1
        assert len(story.live(300, **{budget: rule.ease}).path) == 1, "it neither goes further nor back"


@pytest.mark.parametrize(
    ("can", "first"),
    [
        (ALL, "fewer_threads"),
        (Can(threads=1, rate=True, model=True, refuse=True), "lower_rate"),
        (Can(model=True, refuse=True), "smaller_variant"),
        (Can(refuse=True), "refuse"),
        (Can(), None),
    ],
)
def test_what_is_not_possible_is_passed_over(can, first):
    assert Story(can).live(2, cpu=1.2).steps == ([first] if first else [])


def test_threads_are_halved_down_to_one():
    story = Story(Can(threads=12)).live(100, cpu=1.2)

    assert story.path == ["+fewer_threads", "fewer_threads 3", "fewer_threads 1"]
    assert story.standing.level("fewer_threads", 12) == 1


def test_a_restraint_says_since_when_and_what_led_to_it():
    story = Story(Can(threads=2)).live(2, power=1.12)

    (restraint,) = story.standing.restraints
    assert (restraint.budget, restraint.used, restraint.limit, restraint.source) == ("power", 112, 100, "measured")
    assert (restraint.since, restraint.level) == (5e8 + 1002, 1)
    story.can = ALL
    story.live(30, power=1.2)
    assert story.standing.restraints[0].since == 5e8 + 1002


def test_memory_does_not_come_back_by_acting_less_often():
    assert "lower_rate" not in Story().live(600, memory=2.0).steps
    assert Story().live(600, memory=2.0).standing.level("refuse", 1.0) == 0


def test_the_budget_that_is_pressed_hardest_decides():
    assert Story().live(2, memory=0.95, cpu=1.3).steps == ["fewer_threads"]
    assert Story().live(2, memory=1.4, cpu=1.3).steps == ["drop_caches"]


# --- Undoing ---


def test_steps_are_undone_in_reverse_once_the_pressure_is_gone():
    story = Story().live(600, memory=1.2)
    taken = list(story.steps)
    story.path.clear()
    story.live(600, memory=0.5)

    assert story.path == [f"-{step}" for step in reversed(taken)]


def test_it_takes_its_time_to_trust_the_calm():
    story = Story(Can(threads=2)).live(4, power=1.2)
    assert story.live(PATIENCE - 2, power=0.5).steps == ["fewer_threads"]
    story.live(2, power=0.95)  # once more in between: the calm begins anew
    assert story.live(PATIENCE, power=0.5).steps == ["fewer_threads"]
    assert story.live(4, power=0.5).steps == []


def test_a_step_that_also_helps_another_budget_waits_for_that_too():
    story = Story(Can(threads=2)).live(4, power=1.2)

    assert story.live(200, power=0.5, cpu=0.95).steps == ["fewer_threads"]
    assert story.live(200, power=0.5, cpu=0.5).steps == []


def test_memory_that_stays_full_does_not_keep_a_robot_slow():
    story = Story().live(300, power=1.3)
    story.live(100, power=1.3, memory=0.95)
    assert {"drop_caches", "lower_rate", "refuse"} <= set(story.steps)

    story.live(900, power=0.3, memory=0.8)
    assert "lower_rate" not in story.steps
    assert "drop_caches" in story.steps


def test_a_budget_that_is_taken_away_frees_its_steps_at_once():
    story = Story().live(300, memory=1.2)

    assert story.live(2 * len(story.steps)).steps == []


# --- Levels: held within the budget, without swinging ---


class Plant:
    """A board: `base` watts, and `moving` ones that follow the share of the rate (and fall with fewer threads)."""

    def __init__(self, base: float, moving: float, threads: float = 0.0) -> None:
        self.base, self.moving, self.threads = base, moving, threads

    def watts(self, standing: Standing) -> float:
        full = self.moving * (1 - self.threads * standing.has("fewer_threads"))
        return self.base + full * standing.level("lower_rate", 1.0)


@pytest.mark.parametrize("base", [0.0, 1.0, 2.5, 4.5])
@pytest.mark.parametrize("moving", [1.0, 3.7, 8.0, 20.0])
def test_five_watts_are_held_within_a_tenth(base, moving):
    plant, limit = Plant(base, moving), 5.0
    story, seen = Story(Can(rate=True, model=True)), []
    for _ in range(600):
        seen.append(plant.watts(story.standing))
        story.step({"power": Load(seen[-1], limit, "measured")})
    held = seen[100:]
    floor = base + 0.1 * moving
    if base + moving <= limit:
        assert story.path == [], "what stays below is left alone"
    elif floor > 0.99 * limit:
        assert story.standing.level("lower_rate", 1.0) == 0.1, "no less is possible, and more is not done"
        assert "smaller_variant" in story.steps
    else:
        assert 0.9 * limit <= sum(held) / len(held) <= 1.0 * limit
        assert max(held) - min(held) < 0.1 * limit
        assert len(story.path) < 20, "and it comes to rest"


def test_a_load_that_comes_and_goes_does_not_make_it_flap():
    """Busy for a minute, idle for a minute, for four hours: the steps in between get fewer, not more."""
    story = Story(Can(threads=2))
    counts = []
    for _ in range(4):
        before = len(story.path)
        for _ in range(30):
            busy = 1.2 if not story.standing.has("fewer_threads") else 0.95
            story.live(60, power=busy)
            story.live(60, power=0.3)
        counts.append(len(story.path) - before)
    assert counts[0] <= 8
    assert counts[-1] <= 2
    assert story.standing.patience["fewer_threads"] <= LONGEST


def test_noise_at_the_edge_does_not_make_it_flap():
    story = Story(Can(rate=True))
    noise = [0.06, -0.05, 0.02, -0.07, 0.04]
    for number in range(2000):
        level = story.standing.level("lower_rate", 1.0)
        story.step({"power": Load(5 * (0.2 + 0.9 * level) * (1 + noise[number % 5] / 3), 5, "measured")})
    assert len(story.path) < 12


def test_a_step_that_was_undone_long_ago_has_its_first_patience_again():
    story = Story(Can(threads=2)).live(4, power=1.2).live(60, power=0.3).live(4, power=1.2)
    assert story.standing.patience["fewer_threads"] == 2 * PATIENCE
    story.live(120, power=0.3).live(1200, power=0.3).live(4, power=1.2)
    assert story.standing.patience["fewer_threads"] == PATIENCE


def test_programs_are_answered_for_the_share_of_time_that_fits():
    """A load from other programs alone, twice what is allowed: half of the time is left to them."""
    story = Story(Can(refuse=True))
    for _ in range(200):
        story.step({"cpu": Load(60 * story.standing.level("refuse", 1.0), 30)})
    assert 0.45 <= story.standing.level("refuse", 1.0) <= 0.5
    story.live(300, cpu=0.2)
    assert story.steps == []
