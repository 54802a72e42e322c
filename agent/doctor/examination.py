"""All checks, one after the other, and how they are told."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent import config
from agent.config import ConfigError, Settings
from agent.doctor import board, broker, software
from agent.doctor.finding import Finding, problem

_MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def examine(found: Mapping[str, Any]) -> list[Finding]:
    """Every check with these settings. What cannot be checked is a finding, too."""
    data = config.data_folder(found)
    findings: list[Finding] = []
    settings: Settings | None = None
    try:
        settings = config.build(found)
    except ConfigError as trouble:
        findings.append(problem("settings", str(trouble), "Settings are described in agent/README.md."))
    for name, check in _checks(settings, data):
        findings += _guarded(name, check)
    return findings


def _checks(settings: Settings | None, data: Path) -> Iterator[tuple[str, Callable[[], Iterable[Finding]]]]:
    yield "versions", software.versions
    yield "clock", lambda: board.clock(data)
    yield "disk", lambda: board.disk(data)
    yield "rights", lambda: board.rights(data)
    yield "runtime", software.runtime
    yield "power", lambda: board.power(settings, data)
    if settings is not None:
        yield "broker", lambda: broker.reach(settings)


def _guarded(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """A check that breaks is told as one, and the others go on."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as trouble:
        found.append(
            problem(name, f"This could not be checked: {trouble}.", "Run the doctor as the user that runs the agent.")
        )
    return found


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """For a person: a line for each finding, and under it what to do."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        yield f"{_MARKS[finding.result]}  {finding.check:<{width}}  {finding.words}"
        if finding.remedy:
            yield f"{'':<{9 + width}}  → {finding.remedy}"
    problems = sum(finding.result == "problem" for finding in findings)
    yield (
        f"\n{problems} problem{'s' if problems != 1 else ''}" if problems else "\nNothing keeps the agent from working."
    )


def as_json(findings: Sequence[Finding]) -> str:
    """For programs: `{"ok", "findings": [{"check", "result", "words", "remedy"}]}`."""
    good = not any(finding.result == "problem" for finding in findings)
    return json.dumps({"ok": good, "findings": [asdict(finding) for finding in findings]}, indent=2, ensure_ascii=False)
