"""The whole loop through the public API: what the demo does for you, and what `CHECK=1` proves without a person."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fleet.demo.client import Client, wait_for
from fleet.demo.stack import DEVICES

MODEL = "tabletop"
GROUP = "everything"
CHECK_REPORT = "check.json"
CLASSES = ("embedded", "mobile", "edge_server")
ASSETS = Path(__file__).parent / "assets"
NOTES = "Grasp the red square: image, instruction and gripper state to a chunk of 8 actions."

Say = Callable[[str], None]


@dataclass
class Step:
    """One line of the check's table."""

    step: str
    passed: bool = False
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)


class Loop:
    """Walks the loop step by step. A step that fails is recorded, and raises."""

    def __init__(self, client: Client, say: Say = print) -> None:
        self.client, self.say = client, say
        self.steps: list[Step] = []
        self.version: dict[str, Any] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        step = Step(name)
        self.steps.append(step)
        begun = time.monotonic()
        self.say(f"{name} …")
        try:
            yield step
            step.passed = True
        except Exception as problem:
            step.figures["problem"] = str(problem)
            raise
        finally:
            step.seconds = round(time.monotonic() - begun, 1)
            self.say(f"{name}: {'ok' if step.passed else 'FAILED'}, {step.seconds} s  {_words(step.figures)}")

    def devices(self) -> list[dict]:
        return list(self.client.every("/devices"))

    def register(self, seconds: float = 60) -> None:
        """Six simulated devices enroll by themselves, with the hardware they declare and the class that follows."""
        with self.step("register") as step:
            names = {device.name for device in DEVICES}

            def online() -> list[dict]:
                found = [d for d in self.devices() if d["name"] in names and d["liveness"] == "online"]
                return found if len(found) == len(DEVICES) else []

            found = wait_for("six devices online", online, seconds)
            step.figures["online"] = len(found)
            for name in CLASSES:
                step.figures[name] = sum(d["device_class"] == name for d in found)
            if any(step.figures[name] != 2 for name in CLASSES) or not all(d["simulated"] for d in found):
                raise AssertionError(f"two simulated devices of each class were expected: {step.figures}")
            for device in found:  # nobody wants to watch a demo for a minute before it calls a device done
                self.client.call("PATCH", f"/devices/{device['id']}", {"config": {"watch_seconds": 10}})

    def upload(self) -> None:
        """The project's own policy, through the same form as anybody's."""
        from fleet.demo.policy import build_pt2

        with self.step("upload") as step, tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tabletop_policy.pt2"
            build_pt2(file)
            self.version = self.client.upload(
                MODEL, file, ASSETS / "card.json", ASSETS / "evaluation.npz", "tabletop", NOTES
            )
            step.figures |= {"version": f"{MODEL}@{self.version['number']}", "bytes": self.version["size"]}

    def optimize(self, seconds: float = 420) -> None:
        """One job per class; every candidate measured, a winner and a reason for each loser."""
        with self.step("optimize") as step:
            order = f"/versions/{self.version['id']}/optimize"
            jobs = [self.client.post(order, {"device_class": name, "budget": "brief"})["id"] for name in CLASSES]
            told: dict[int, str] = {}

            def ended() -> bool:
                states = []
                for job_id in jobs:
                    job = self.client.get(f"/jobs/{job_id}")
                    states.append(job["state"])
                    if job["state"] == "running" and told.get(job_id) != job["step"]:
                        told[job_id] = job["step"]
                        self.say(f"  {job['title']}: {job['step']}")
                    if job["state"] in ("failed", "canceled"):
                        raise AssertionError(f"{job['title']} {job['state']}: {job['reason']}")
                return all(state == "succeeded" for state in states)

            wait_for("three variants", ended, seconds, every=1)
            step.figures |= self._figures_of_trials()

    def _figures_of_trials(self) -> dict[str, Any]:
        trials = list(self.client.every(f"/versions/{self.version['id']}/trials"))
        figures: dict[str, Any] = {}
        best = 0.0
        for name in CLASSES:
            mine = [trial for trial in trials if trial["device_class"] == name]
            winner = next((trial for trial in mine if trial["verdict"] == "won"), None)
            if winner is None:
                raise AssertionError(f"no variant won for {name}")
            original = next(trial for trial in mine if trial["recipe"].get("original"))
            measured = winner["figures"]
            smaller = original["figures"]["bytes"] / measured["bytes"]
            best = max(best, smaller)
            figures[name] = {
                "winner": winner["name"],
                "why": winner["reason"],
                "bytes": measured["bytes"],
                "times_smaller": round(smaller, 2),
                "success": _short(measured.get("success")),
                "loss_points": _short(measured.get("loss_points")),
                "loss_interval": [_short(measured.get("loss_low")), _short(measured.get("loss_high"))],
                "p50_ms": _short(measured.get("p50_ms")),
                "times_the_originals_latency": _short(measured.get("ratio_p50")),
                "losers": {trial["name"]: trial["reason"] for trial in mine if trial is not winner},
            }
            figures["original_success"] = _short(original["figures"].get("success"))
            figures["original_bytes"] = original["figures"]["bytes"]
            figures["episodes"] = measured.get("episodes")
        figures["best_times_smaller"] = round(best, 2)
        if best < 1.9:
            raise AssertionError(f"the smallest variant is only {best:.2f} times smaller than the original")
        return figures

    def release_and_roll_out(self, seconds: float = 180) -> None:
        """Each device gets its class's variant, proves it, and says that it runs."""
        with self.step("roll out") as step:
            version = self.version["id"]
            release = self.client.post(f"/versions/{version}/releases", {"notes": "the winners"})
            rollout = self.client.post("/rollouts", {"release": release["id"], "group": GROUP})

            def finished() -> dict | None:
                now = self.client.get(f"/rollouts/{rollout['id']}")
                return now if now["state"] in ("finished", "aborted") else None

            ended = wait_for("the rollout's end", finished, seconds)
            step.figures |= {"state": ended["state"], **ended["counts"]}
            if ended["counts"] != {"active": len(DEVICES)}:
                left = self.client.get(f"/rollouts/{rollout['id']}/deployments")["items"]
                reasons = {d["device_name"]: d["reason"] or d["waiting"] for d in left if d["state"] != "active"}
                raise AssertionError(f"not every device is active: {reasons}")
            wanted = {variant["device_class"]: variant["manifest_digest"] for variant in release["variants"]}
            for device in self.devices():
                if device["active_manifest"] != wanted[device["device_class"]]:
                    raise AssertionError(f"{device['name']} reports another variant than its class's")

    def infer(self, episodes: int = 60, seconds: float = 120) -> None:
        """The devices do their job, in onnxruntime, and report it."""
        with self.step("infer") as step:

            def enough() -> list[dict]:
                found = self.devices()
                done = sum(device["episodes"] for device in found)
                return found if done >= episodes and all(d["latency_p50"] for d in found) else []

            found = wait_for(f"{episodes} episodes", enough, seconds)
            done, good = (sum(device[key] for device in found) for key in ("episodes", "successes"))
            step.figures |= {
                "episodes": done,
                "success": round(good / done, 3),
                "p50_ms": round(max(device["latency_p50"] for device in found), 2),
                "p95_ms": round(max(device["latency_p95"] for device in found), 2),
                "cache_hits": sum(device["cache_hits"] for device in found),
                "cache_lookups": sum(device["cache_lookups"] for device in found),
            }
            if good / done < 0.85:
                raise AssertionError(f"only {good} of {done} episodes succeeded on the devices")
            if step.figures["p95_ms"] >= 100:
                raise AssertionError("a decision took 100 ms or more at the 95th percentile")

    def telemetry(self) -> None:
        """Samples come every five seconds, and are there within two of being sent."""
        with self.step("telemetry") as step:
            delays, memory = [], []
            for device in self.devices():
                before = self.client.get(f"/devices/{device['id']}/samples", limit=1)["items"][0]["at"]

                def newer(device: dict = device, before: str = before) -> dict | None:
                    sample = self.client.get(f"/devices/{device['id']}/samples", limit=1)["items"][0]
                    return sample if sample["at"] != before else None

                sample = wait_for(f"a new sample of {device['name']}", newer, 15, every=0.1)
                delays.append(time.time() - _epoch(sample["at"]))
                memory.append(sample["agent_memory"] or 0)
                if sample["power_source"] not in ("measured", "estimated"):
                    raise AssertionError(f"{device['name']} does not say where its power figure is from")
            step.figures |= {
                "seconds_to_store": round(max(delays), 2),
                "agent_memory_mib": round(max(memory) / 2**20, 1),
            }
            if max(delays) > 2:
                raise AssertionError(f"a sample took {max(delays):.1f} s to be there")

    def reoptimize(self, seconds: float = 120) -> None:
        """One device measures two candidates itself; the better one runs there."""
        with self.step("re-optimize") as step:
            device = next(d for d in self.devices() if d["device_class"] == "embedded")
            job = self.client.post(f"/devices/{device['id']}/reoptimize")

            def ended() -> dict | None:
                now = self.client.get(f"/jobs/{job['id']}")
                return now if now["state"] not in ("queued", "running") else None

            done = wait_for("the re-optimization", ended, seconds)
            step.figures |= {"device": device["name"], "state": done["state"]}
            if done["state"] != "succeeded":
                raise AssertionError(done["reason"])
            step.figures["winner"] = done["result"]["winner"]
            for row in done["result"]["candidates"]:
                step.figures[row["name"]] = {
                    key: _short(row.get(key)) for key in ("p50_ms", "p95_ms", "bytes", "score")
                }
            winner = done["result"]["winner_manifest"]
            wait_for(
                "the winner on the device",
                lambda: self.client.get(f"/devices/{device['id']}")["active_manifest"] == winner,
                60,
            )

    def result(self, check: str) -> dict[str, Any]:
        """The check's last line."""
        passed = bool(self.steps) and all(step.passed for step in self.steps)
        return {"check": check, "passed": passed, "steps": [asdict(step) for step in self.steps]}

    def table(self) -> str:
        lines = [f"{'step':<14}{'':<8}{'seconds':>8}  figures"]
        for step in self.steps:
            flat = {k: v for k, v in step.figures.items() if not isinstance(v, dict)}
            lines.append(f"{step.step:<14}{'ok' if step.passed else 'FAILED':<8}{step.seconds:>8}  {_words(flat)}")
            for name, figures in step.figures.items():
                if isinstance(figures, dict):
                    lines += _class_lines(name, figures) if name in CLASSES else [f"    {name}: {_words(figures)}"]
        return "\n".join(lines)


def _class_lines(name: str, figures: dict[str, Any]) -> list[str]:
    low, high = figures["loss_interval"]
    interval = f" ({low:+.1f} … {high:+.1f})" if low is not None else ""
    head = (
        f"    {name}: {figures['winner']}, {figures['bytes']:,} bytes ({figures['times_smaller']} times smaller), "
        f"success {figures['success']}, loss {figures['loss_points']} points{interval}, p50 {figures['p50_ms']} ms"
    )
    return [head, f"        {figures['why']}", *(f"        {who}: {why}" for who, why in figures["losers"].items())]


def _short(value: float | None) -> float | None:
    return value if value is None else round(value, 3)


def _words(figures: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in figures.items() if not isinstance(value, dict))


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def last_line(result: dict[str, Any]) -> str:
    return json.dumps(result, separators=(",", ":"))
