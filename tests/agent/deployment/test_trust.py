"""Which manifests are taken."""

import msgspec
import pytest

from agent.deployment import trust
from agent.deployment.trust import TrustError
from agent.wire import manifest as wire
from agent.wire.hardware import DeviceClass
from tests.agent.variants import variant


def test_a_manifest_is_what_its_digest_says():
    made = variant()

    assert trust.read(made.data, made.digest) == made.manifest


def test_a_flipped_bit_is_another_manifest():
    made = variant()
    flipped = bytes([made.data[0] ^ 1]) + made.data[1:]

    with pytest.raises(TrustError, match=f"wanted was {made.digest[:12]}"):
        trust.read(flipped, made.digest)


@pytest.mark.parametrize(
    "changes",
    [{"size": 1}, {"parts": variant().manifest.parts[:1], "size": variant().manifest.parts[0].size}],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes):
    data = wire.encode(msgspec.structs.replace(variant().manifest, **changes))

    with pytest.raises(TrustError, match="not valid"):
        trust.read(data, wire.digest_of(data))


def test_one_part_has_one_size():
    made = variant().manifest
    first = made.parts[0]
    data = wire.encode(
        msgspec.structs.replace(
            made,
            parts=(*made.parts, wire.Part(first.digest, first.size + 1, "model")),
            size=made.size + first.size + 1,
        )
    )

    with pytest.raises(TrustError, match="two sizes"):
        trust.read(data, wire.digest_of(data))


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 1000, b"\xff" * 10])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(TrustError, match="not valid"):
        trust.read(data, wire.digest_of(data))


def test_endless_data_is_refused_by_its_length():
    with pytest.raises(TrustError, match="the limit is"):
        trust.read(b"x" * (wire.MAX_MANIFEST + 1), "0" * 64)


def test_a_manifest_of_twenty_thousand_parts_fits():
    parts = tuple(wire.Part(f"{number:064x}", 64 * 1024, "model") for number in range(19_998))
    parts += (wire.Part("e" * 64, 10, "card"), wire.Part("f" * 64, 10, "golden"))
    data = wire.encode(msgspec.structs.replace(variant().manifest, parts=parts, size=sum(p.size for p in parts)))

    assert len(trust.read(data, wire.digest_of(data)).parts) == 20_000


def test_a_variant_for_another_class_is_refused():
    trust.check_class(variant().manifest, DeviceClass.EMBEDDED)
    with pytest.raises(TrustError, match="was made for embedded devices; this is an edge server device"):
        trust.check_class(variant().manifest, DeviceClass.EDGE_SERVER)
