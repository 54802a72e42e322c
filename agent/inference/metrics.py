"""What the model did since the agent started, as Prometheus reads it."""

from collections.abc import Iterable, Mapping

from agent.inference.inference_engine import LoadedModel
from agent.inference.meter import STAGES, Window
from agent.wire.messages import Restraint

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_COUNTERS = (
    ("decisions", "decisions", "Requests that the model answered."),
    ("late", "late_decisions", "Decisions past their deadline."),
    ("refused", "refused_requests", "Requests whose deadline passed while they waited."),
    ("errors", "errors", "Requests that the model could not answer."),
    ("not_finite", "not_finite", "Answers with NaN or infinity, which were refused."),
    ("cache_lookups", "cache_lookups", "Observations that were looked up in the data cache."),
    ("cache_hits", "cache_hits", "Observations that the data cache knew."),
    ("remote_asked", "remote_asked", "Requests that were sent to the server, in hybrid mode."),
    ("remote_answered", "remote_answered", "Those of them that the server answered in time."),
    ("remote_bytes", "remote_bytes", "Bytes of them that were sent."),
)


def text(
    window: Window, model: LoadedModel | None, replies: Mapping[int, int], restraints: Iterable[Restraint] = ()
) -> bytes:
    """`window` counts from the agent's start; `replies` are the local API's own, by status."""
    lines: list[str] = []

    def metric(name: str, kind: str, words: str, values: Mapping[str, float]) -> None:
        lines.append(f"# HELP edge_agent_{name} {words}")
        lines.append(f"# TYPE edge_agent_{name} {kind}")
        lines.extend(f"edge_agent_{name}{labels} {value:.10g}" for labels, value in values.items())

    for field, name, words in _COUNTERS:
        metric(f"{name}_total", "counter", words, {"": getattr(window, field)})
    stages = {_labels(stage=stage): getattr(window.stages, stage) * window.decisions / 1e3 for stage in STAGES}
    metric("stage_seconds_total", "counter", "Time of all decisions in each stage.", stages)
    over = {_labels(budget=name): getattr(window, f"over_{name}") for name in ("preprocess", "compute", "total")}
    metric("over_budget_total", "counter", "Decisions that took longer than their budget.", over)
    if window.ahead:
        age = {"": window.age / 1e3}
        metric("observation_age_seconds", "gauge", "Mean age of what was decided on, for actions asked ahead.", age)
    if window.latencies:
        shares = (0.5, 0.95, 0.99)
        latest = {_labels(quantile=share): (window.percentile(share) or 0.0) / 1e3 for share in shares}
        metric("decision_seconds", "gauge", "Percentiles of the latest decisions, all stages together.", latest)
    by_status = {_labels(status=status): count for status, count in sorted(replies.items())}
    metric("api_replies_total", "counter", "What the local API replied.", by_status)
    left = {_labels(step=each.step, budget=each.budget): each.level for each in restraints}
    metric("restraint", "gauge", "Steps taken to stay within a budget: threads, or the share, that is left.", left)
    named = {_labels(name=model.name, version=model.version, artifact=model.artifact): 1} if model else {}
    metric("model_info", "gauge", "The model that decides now.", named)
    return ("\n".join(lines) + "\n").encode()


def _labels(**values: object) -> str:
    escaped = {
        name: str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for name, value in values.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"
