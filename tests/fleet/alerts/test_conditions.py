"""What is said of a device that meets a condition."""

import pytest

from fleet.alerts.conditions import CONDITIONS


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("temperature", 84.0, "is at 84 °C"),
        ("not_finite", 3.0, "had 3 answers that are no number"),
        ("offline", 1.0, "is offline"),
        ("temperature", None, "temperature"),
        ("latency", None, "latency, p95"),
        ("not_finite", None, "NaN or infinite answers"),
    ],
)
def test_a_sentence_has_the_value_and_without_one_names_what_is_measured(key, value, said):
    assert CONDITIONS[key].sentence(value).replace("\N{NO-BREAK SPACE}", " ") == said
