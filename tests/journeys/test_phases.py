"""An operator in control of a rollout, in a real browser, with real agents of two classes.

Version 1 runs everywhere at the beginning and at the end of each journey. The others are the same policy with another
action head; one release of version 2 has golden observations that are wrong for mobile devices. What a journey sees on
its way is a version that no device has had before: what is there is not sent again.
"""

import re

import pytest
from playwright.sync_api import expect

from tests.journeys.hall import Hall, order, start

AGENTS = {"hall-emb-1": (4, 4), "hall-emb-2": (4, 4), "hall-mob-1": (8, 8)}
#: Bytes a second at which no download ends while a test looks.
CRAWL = 20_000
#: Prints the releases' ids: versions 1 to 4, and version 2 with a liar for mobile devices.
RELEASES = """
def liar(manifest):
    golden = manifest.of("golden")[0]
    arrays = dict(np.load(io.BytesIO(store.read(golden.digest))))
    arrays = {name: value + 1 if name.startswith("output/") else value for name, value in arrays.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    digest = store.put_bytes(buffer.getvalue())
    parts = [p for p in manifest.parts if p.role != "golden"] + [wire.Part(digest, len(buffer.getvalue()), "golden")]
    whole = b"".join(store.read(p.digest) for p in parts)
    return msgspec.structs.replace(manifest, variant="liar", parts=tuple(parts), size=len(whole),
        digest=wire.digest_of(whole), sources=())

manifests = versions(Path(tempfile.mkdtemp()) / "head", 4)
model = Model.objects.create(name="tabletop-hall")
ids = []
for number, manifest in enumerate(manifests, 1):
    version = ModelVersion.objects.create(model=model, number=number, format="pt2", file_name="policy.pt2",
        digest="ab" * 32, size=manifest.size)
    made = {}
    for device_class in ("embedded", "mobile"):
        made[device_class] = msgspec.structs.replace(manifest, device_class=device_class)
    variants = {name: variant(version, each, "original") for name, each in made.items()}
    release = Release.objects.create(version=version, number=1)
    release.variants.set(variants.values())
    ids.append(release.pk)
    if number == 2:
        bad = Release.objects.create(version=version, number=2)
        bad.variants.set([variants["embedded"], variant(version, liar(made["mobile"]), "liar")])
ids.append(bad.pk)
trust.vouch(Variant.objects.filter(version__model=model).select_related("version"))
print(*ids)
"""
#: Places in the list of them.
SECOND, THIRD, FOURTH, BAD = 1, 2, 3, 4


@pytest.fixture(scope="module")
def made(installation):
    return Hall(installation, "hall", AGENTS, RELEASES)


@pytest.fixture
def hall(made):
    yield made
    made.back_to_first()


def test_a_canary_fails_its_self_test_and_the_operator_rolls_back(page_of, hall):
    page = page_of("operator")
    before = hall.runs()
    number = start(page, hall, hall.releases[BAD], size_0="2", soak_0="0")
    main = page.locator("main")
    expect(main.get_by_text("Phase 1: 1 of 2 devices failed (50%)").first).to_be_visible(timeout=90_000)
    expect(main.get_by_text(re.compile("golden", re.IGNORECASE)).first).to_be_visible()
    rollout = hall.rollout(number)
    assert rollout["state"] == "paused"
    one_of_each = {"active": 1, "failed": 1, "queued": 1}
    hall.installation.wait_for(
        "the other of the canary, and nobody else", lambda: hall.rollout(number)["counts"] == one_of_each, 60
    )
    changed = [name for name, manifest in hall.runs().items() if manifest != before[name]]
    assert len(changed) == 1 and "emb" in changed[0]

    order(page, "Roll back")
    page.wait_for_url(lambda url: not url.endswith(f"/{number}"))
    expect(page.get_by_role("heading", name=re.compile("Back from tabletop-hall@2"))).to_be_visible()
    hall.ended(int(page.url.rsplit("/", 1)[1]))
    assert hall.runs() == before, "each runs what it ran before"
    assert hall.rollout(number)["state"] == "aborted"


def test_cancel_in_the_middle_leaves_every_device_on_a_whole_known_variant(page_of, hall):
    page = page_of("operator")
    before = hall.runs()
    hall.limit(CRAWL)
    number = start(page, hall, hall.releases[THIRD], "once")
    downloading = page.locator("main").get_by_text("Downloading", exact=False).locator("visible=true")
    expect(downloading.first).to_be_visible(timeout=60_000)
    order(page, "Cancel")
    expect(page.locator("main .badge", has_text="Canceled").first).to_be_visible(timeout=20_000)
    assert hall.rollout(number)["state"] == "aborted"
    assert set(hall.rollout(number)["counts"]) == {"canceled"}
    hall.limit(0)
    for name in hall.agents:  # each still answers, and runs what it did
        device = hall.device(name)
        command = hall.installation.api.post(f"/devices/{device['id']}/commands", {"kind": "ping"})
        answered = lambda pk=command["id"]: hall.installation.api.get(f"/commands/{pk}")["state"] == "succeeded"  # noqa: E731
        hall.installation.wait_for(f"an answer of {name}", answered, 30)
    assert hall.runs() == before


def test_a_server_that_is_restarted_in_the_middle_goes_on(page_of, hall):
    installation = hall.installation
    page = page_of("operator")
    hall.limit(CRAWL)
    number = start(page, hall, hall.releases[FOURTH], size_0="1", soak_0="0", soak_1="0")
    installation.wait_for("a download", lambda: "downloading" in hall.rollout(number)["counts"], 60)
    server = [process for process in installation.stack.server() if process.name in installation.processes]
    page.goto("about:blank")  # an open page would say that it has lost the server
    for process in server:
        installation.kill(process.name)
    for process in server:
        installation.run(process)
    installation.wait_for("the pages", lambda: installation.api.get("/me"), 60)
    hall.limit(0)
    hall.ended(number, 180)
    assert set(hall.runs().values()) <= hall.variants(hall.releases[FOURTH])
    page.goto(f"/rollouts/{number}")
    expect(page.locator("main").get_by_text("3 of 3 devices took it").first).to_be_visible()


def test_a_rollout_holds_for_who_is_offline_and_finishes_when_they_are_back(page_of, hall):
    installation = hall.installation
    away = "hall-emb-2"
    installation.kill(away)
    installation.wait_for("it to be missed", lambda: hall.device(away)["liveness"] == "offline", 90)
    page = page_of("operator")
    number = start(page, hall, hall.releases[SECOND], "half", size_0="2", soak_0="0", success_1="100")
    main = page.locator("main")
    expect(main.get_by_text("Waiting for the device: it is offline.").first).to_be_visible(timeout=90_000)
    installation.wait_for("the others", lambda: hall.rollout(number)["counts"].get("active") == 2, 60)
    assert hall.rollout(number)["state"] == "running", "who is away has not failed"
    hall.start(away)
    hall.ended(number)
    assert set(hall.runs().values()) <= hall.variants(hall.releases[SECOND])
