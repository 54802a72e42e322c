"""How many devices of which class, and what is wrong with the command line."""

from collections import Counter

import pytest

from agent.config import ConfigError
from agent.simulate import MIX, main, read_mix, specs
from agent.wire.hardware import GIB, Hardware, classify


def classes(made) -> Counter[str]:
    return Counter(
        classify(Hardware(cores=each.declared.cores, memory_bytes=int(each.declared.memory_gib * GIB), storage_bytes=1))
        for each in made
    )


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_classes_are_in_the_shares_of_the_mix(count):
    found = classes(specs("light", 0, count, read_mix(MIX)))
    assert found == {"embedded": 0.7 * count, "mobile": 0.2 * count, "edge_server": 0.1 * count}


def test_processes_that_begin_where_others_end_make_one_fleet():
    mix = read_mix("embedded=1,mobile=2")
    whole = specs("light", 0, 30, mix)
    assert specs("light", 0, 10, mix) + specs("light", 10, 20, mix) == whole
    assert whole[12].name == "light-0012"


@pytest.mark.parametrize("mix", ["", "embedded", "embedded=x", "laptop=1", "embedded=0", "embedded=-1"])
def test_a_mix_that_makes_no_sense_is_refused(mix):
    with pytest.raises(ConfigError, match="--class-mix"):
        read_mix(mix)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--count", "0"], "--count is 1 to 5000"),
        (["--server", "http://a"], "is not of the form mqtt://"),
        (["--tags", "a b"], "is no tag"),
        ([], "give --token"),
    ],
)
def test_what_cannot_start_says_why(tmp_path, capsys, more, said):
    given = ["--server", "mqtt://127.0.0.1:9", "--data", str(tmp_path), "--count", "1", *more]
    assert main(given) == 1
    assert said in capsys.readouterr().err
