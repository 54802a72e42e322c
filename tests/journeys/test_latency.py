"""A variant answers right and within its deadline, but slower than the one before: the canary shows it.

Two real agents act in the demo's world. Version 2 is version 1 with work in it that changes no answer.
"""

import re

import pytest
from playwright.sync_api import expect

from tests.journeys.hall import Hall, order, start

AGENTS = {"race-emb-1": (4, 4), "race-emb-2": (4, 4)}
#: Prints the releases' ids: version 1, and the same slower.
RELEASES = """
import onnx
from onnx import TensorProto, helper

LOOPS = 40

def slower(manifest):
    model = onnx.load_from_string(b"".join(store.read(part.digest) for part in manifest.of("model")))
    graph = model.graph
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["exact" if name == output else name for name in node.output]
        node.input[:] = ["exact" if name == output else name for name in node.input]
    zero = helper.make_tensor("none_of_it", TensorProto.FLOAT, [], [0.0])
    graph.initializer.extend([zero, helper.make_tensor("large", TensorProto.INT64, [2], [512, 512])])
    def add(kind, inputs, output, **given):
        graph.node.append(helper.make_node(kind, inputs, [output], **given))
    def to_nothing(name, into):
        add("ReduceMean", [name], into + "_mean", keepdims=0)
        add("Mul", [into + "_mean", "none_of_it"], into)
    to_nothing("exact", "seed")
    add("Expand", ["seed", "large"], "work_0")
    # So much that it shows beside what a busy machine alone adds to both.
    for number in range(LOOPS):
        add("MatMul", [f"work_{number}", f"work_{number}"], f"work_{number + 1}")
    to_nothing(f"work_{LOOPS}", "nothing")
    add("Add", ["exact", "nothing"], output)
    data = model.SerializeToString()
    parts = [wire.Part(store.put_bytes(data), len(data), "model")]
    parts += [part for part in manifest.parts if part.role != "model"]
    whole = b"".join(store.read(part.digest) for part in parts)
    # Its own deadline is no matter here: a busy machine takes ten times as long.
    return msgspec.structs.replace(manifest, version="2", variant="slower", deadline_ms=20_000.0, parts=tuple(parts),
        size=len(whole), digest=wire.digest_of(whole), sources=())

[first] = versions(Path(tempfile.mkdtemp()) / "head", 1)
model = Model.objects.create(name="tabletop-race")
ids = []
for number, manifest in enumerate((first, slower(first)), 1):
    version = ModelVersion.objects.create(model=model, number=number, format="pt2", file_name="policy.pt2",
        digest="ab" * 32, size=manifest.size)
    manifest = msgspec.structs.replace(manifest, model="tabletop-race")
    release = Release.objects.create(version=version, number=1)
    release.variants.set([variant(version, manifest, manifest.variant)])
    ids.append(release.pk)
trust.vouch(Variant.objects.filter(version__model=model).select_related("version"))
print(*ids)
"""


@pytest.fixture(scope="module")
def race(installation):

    return Hall(installation, "race", AGENTS, RELEASES, source="fleet.demo.source:tabletop", runtime="onnxruntime")


def test_a_variant_that_is_slower_on_the_canary_than_before_stops_there(page_of, race):
    installation = race.installation
    before = race.runs()
    decided = lambda: min(race.device(name)["decisions"] for name in race.agents)  # noqa: E731
    installation.wait_for("decisions to compare with", lambda: decided() >= 60, 90)

    page = page_of("operator")
    number = start(page, race, race.releases[1], size_0="1", latency_rise="100")
    main = page.locator("main")
    expect(
        main.get_by_text(re.compile(r"Phase 1: p95 latency rose from .* to .* ms on the same devices")).first
    ).to_be_visible(timeout=180_000)

    rollout = race.rollout(number)
    assert rollout["state"] == "paused"
    assert rollout["counts"] == {"active": 1, "queued": 1}, "the canary took it, and nobody else"
    [changed] = [name for name, manifest in race.runs().items() if manifest != before[name]]
    figures = rollout["phases"][0]["figures"]
    assert figures["after"]["latency_p95"] > 2 * figures["before"]["latency_p95"]
    assert race.device(changed)["active_manifest"] in race.variants(race.releases[1])

    order(page, "Roll back")
    page.wait_for_url(lambda url: not url.endswith(f"/{number}"))
    race.ended(int(page.url.rsplit("/", 1)[1]))
    assert race.runs() == before
