"""The self-test of an installed artifact, with whatever is fastest here."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from agent.child import ChildStoppedError
from agent.deployment import self_test
from agent.deployment.choices import Choices
from agent.deployment.delivery import InterruptedWaitError
from agent.deployment.outcome import Outcome, Tell
from agent.deployment.store import Store
from agent.deployment.transitions import Event
from agent.device.resource_manager import Budget
from agent.inference.runtimes import DEFAULT
from agent.inference.selection import Choice

log = logging.getLogger(__name__)


class Proving:
    """What the update machine knows of testing. budget is asked each time: it can change while the agent runs."""

    def __init__(self, store: Store, choices: Choices, budget: Callable[[], Budget]) -> None:
        self._store = store
        self._choices = choices
        self._budget = budget

    def is_due(self, digest: str) -> bool:
        """Whether the runtime is to be chosen anew for what runs already."""
        return self._choices.is_due(digest)

    def test(self, digest: str, tell: Tell, interrupted: Callable[[], bool]) -> Outcome:
        """Choose what runs the artifact here, and test it so. The machine then loads the model beside the running one.

        Another runtime than the default one makes no update fail: where it does not pass, the default one is tested.
        """
        try:
            choice = self._choose(digest, tell, interrupted)
            result = self._tested(digest, choice, interrupted)
            if not result["ok"] and choice.backend != DEFAULT:
                log.warning("%s did not pass the self-test of %s: %s", choice, digest[:12], result["reason"])
                choice = Choice(threads=self._budget().threads, measured=choice.measured)
                result = self._tested(digest, choice, interrupted)
        except ChildStoppedError as stopped:
            raise InterruptedWaitError from stopped
        figures = {key: value for key, value in result.items() if isinstance(value, int | float) and key != "ok"}
        if not result["ok"]:
            return Outcome(Event.BROKEN, f"Self-test: {result['reason']}", figures)
        choice = msgspec.structs.replace(choice, p50=round(result["p50"], 4))
        self._choices.keep(digest, choice)
        log.info("%s runs %s", choice, digest[:12])
        return Outcome(Event.PASSED, evidence={**figures, **choice.evidence()})

    def _choose(self, digest: str, tell: Tell, interrupted: Callable[[], bool]) -> Choice:
        if self._choices.is_due(digest):
            tell("Measuring which runtime is fastest here.", 0.0)
        return self._choices.find(digest, self._store.artifact(digest), self._budget(), interrupted)

    def _tested(self, digest: str, choice: Choice, interrupted: Callable[[], bool]) -> dict[str, Any]:
        budget = self._budget()
        return self_test.run(
            self._store.artifact(digest),
            threads=min(choice.threads, budget.threads),
            memory=budget.memory,
            backend=choice.backend,
            interrupted=interrupted,
        )
