"""What a search found becomes rows, and variants of what passed."""

import json
from pathlib import Path

import msgspec
import pytest

from agent.wire import manifest as wire
from fleet.catalog import services, store
from fleet.catalog.models import Variant
from fleet.jobs import optimize
from fleet.jobs.models import Job
from fleet.optimizer.contract import Outcome, Trial
from tests.agent import variants
from tests.fleet.builders import make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def artifact(tmp_path) -> Path:
    """A trial's folder, as the optimizer leaves it; without a policy card."""
    (tmp_path / "model.onnx").write_bytes(variants.model())
    (tmp_path / "golden.npz").write_bytes(variants.golden())
    (tmp_path / "facts.json").write_text(json.dumps({"memory_bytes": 1000, "tolerance": 0.001}))
    return tmp_path


def outcome(artifact: Path) -> Outcome:
    def tried(name: str, verdict: str, where: str | None) -> Trial:
        return Trial(
            name=name, key=name.ljust(64, "0"), recipe={}, figures={}, verdict=verdict, reason=name, artifact=where
        )

    trials = [tried("fp16", "won", str(artifact)), tried("int8", "failed", None)]
    return Outcome(trials=trials, winner="fp16", summary="fp16 won", log=[], lineage={}, gates={})


@pytest.mark.parametrize("with_card", [True, False])
def test_what_passed_becomes_a_variant_with_or_without_a_policy_card(artifact, operator, with_card, settings, tmp_path):
    settings.ARTIFACTS_DIR = tmp_path / "store"
    version = make_version()
    if with_card:
        version.card = variants.card(deadline_ms=40)
        version.save()
        (artifact / "card.json").write_text(json.dumps(version.card))
    job = Job.objects.create(kind="optimize", version=version, device_class="embedded", created_by=operator)

    result = optimize._keep(job, outcome(artifact))

    assert result["winner"] == "fp16"
    made = Variant.objects.get()
    manifest = msgspec.convert(made.manifest, wire.Manifest)
    wire.check(manifest)
    assert made.manifest_digest == wire.digest_of(services.manifest_bytes(made))
    assert (bool(manifest.of("card")), manifest.deadline_ms) == ((True, 40.0) if with_card else (False, 100.0))
    whole = b"".join(store.read(part.digest) for part in manifest.parts)
    assert wire.digest_of(whole) == manifest.digest
    assert services.proposed(version) == {"embedded": made}
