"""The text that Prometheus scrapes."""

import re

from agent.inference import metrics
from agent.inference.meter import Meter, Timing
from agent.wire.messages import Restraint

LINE = re.compile(r'(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="([^"\\\n]|\\.)*",?)+\})? [0-9.e+-]+)')


class Model:
    name, version, artifact = 'arm "left"\\\n', "7", "ab" * 32


def test_every_line_is_well_formed_and_labels_are_escaped():
    meter = Meter()
    meter.decided(Timing(1, 2, 3, 4), late=True)
    meter.decided(Timing(1, 2, 3, 4), late=False)
    fewer = Restraint(step="fewer_threads", budget="power", since=1.0, used=6.0, limit=5.0, level=1)
    text = metrics.text(meter.look(), Model, {200: 5, 404: 1}, [fewer]).decode()

    assert text.endswith("\n")
    assert [line for line in text.splitlines() if not LINE.fullmatch(line)] == []
    assert 'edge_agent_model_info{name="arm \\"left\\"\\\\\\n",version="7"' in text
    assert 'edge_agent_stage_seconds_total{stage="compute"} 0.006' in text
    assert 'edge_agent_decision_seconds{quantile="0.95"} 0.01' in text
    assert "edge_agent_late_decisions_total 1" in text
    assert 'edge_agent_restraint{step="fewer_threads",budget="power"} 1' in text


def test_without_a_model_and_a_decision_there_are_zeros_and_no_percentiles():
    text = metrics.text(Meter().look(), None, {}).decode()

    assert "edge_agent_decisions_total 0" in text
    assert "quantile" not in text and "model_info{" not in text
