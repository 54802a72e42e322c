"""What is known of a trial, in words: what was not measured is never a zero."""

from fleet.dashboard.details import ENDED_BEFORE, measured, origin, where

CLASSIFIER = {
    "bytes": 1000,
    "p50_ms": 2.0,
    "p95_ms": 3.0,
    "joules": 0.0042,
    "cosine": 0.9999,
    "cosine_min": 0.9,
    "max_error": 0.25,
    "mean_error": 0.01,
    "outputs": {
        "boxes": {"cosine": 0.9, "max_error": 0.25, "mean_error": 0.02},
        "scores": {"cosine": 1.0, "max_error": 0.1, "mean_error": 0.0, "agreement": 0.985},
    },
    "right": 0.9,
}


def rows(got, title):
    group = next(group for group in measured(got) if group.title == title)
    return {row.name: f"{row.value} {row.note}".strip().replace("\N{NO-BREAK SPACE}", " ") for row in group.rows}


def test_each_output_has_its_own_line_and_a_classifiers_says_how_often_it_agrees():
    told = rows(CLASSIFIER, "Answers beside the original's")
    assert told["Output boxes"] == "cosine 0.90000, largest 0.25, mean 0.02"
    assert told["Output scores"] == ("cosine 1.00000, largest 0.1, mean 0, the same class in 98.5 % of the samples")
    only = {**CLASSIFIER, "outputs": {"scores": CLASSIFIER["outputs"]["scores"]}}
    assert rows(only, "Answers beside the original's")["Output scores"] == "the same class in 98.5 % of the samples"
    assert rows(CLASSIFIER, "At its task")["Right answers"] == "90.0 % of the evaluation set"


def test_energy_is_said_where_a_counter_could_be_read():
    assert rows(CLASSIFIER, "Time")["Energy of a decision"] == "4.20 mJ"
    assert rows({**CLASSIFIER, "joules": 3.0}, "Time")["Energy of a decision"] == "3 J"
    without = {name: value for name, value in CLASSIFIER.items() if name != "joules"}
    assert "no energy counter" in rows(without, "Time")["Energy of a decision"]


def test_what_was_not_reached_is_not_shown_as_zero():
    early = {"bytes": 1000, "p50_ms": 0.0, "peak_bytes": 0, "cosine": 0.2, "load_ms": 0.0, "threads": 1}
    groups = {group.title: group for group in measured(early)}
    assert groups["Time"].rows == []
    assert groups["Time"].nothing == ENDED_BEFORE
    assert [row.name for row in groups["Size and memory"].rows] == ["Model file"]
    assert [row.value for row in groups["Answers beside the original's"].rows] == ["mean 0.20000"]
    assert rows({"finite": False, "cosine": 0.0}, "Answers beside the original's") == {"Answers": "NaN or infinity"}


def test_a_gain_is_a_negative_loss_and_nothing_is_not_minus_nothing():
    gained = {"loss_points": -1.7, "loss_low": -3.8, "loss_high": -0.02, "episodes": 400}
    told = rows(gained, "At its task")["Lost against the original"]
    assert told == "−1.7 points 95 % interval −3.8 to 0.0, 400 paired episodes"


def test_lineage_says_only_what_was_recorded():
    assert [row.name for row in origin({}, "")] == ["Recipe"]
    assert where({}) == ""
    told = {
        row.name: row for row in origin({"input": "ab" * 32, "asked_at": "no time", "tools": {"onnx": "1"}}, "int8")
    }
    assert told["Upload"].title == "ab" * 32
    assert (told["Recipe"].value, told["Evaluation set"].value, told["Tools"].value) == ("int8", "none", "onnx 1")
    assert (told["Asked for"].value, told["Asked for"].at) == ("by a person who is gone", None)
