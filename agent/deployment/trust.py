"""What makes a manifest one that this device may install. Pure: bytes and facts in, a manifest or a reason out."""

from agent.wire import codec
from agent.wire import manifest as wire
from agent.wire.hardware import DeviceClass


class TrustError(ValueError):
    """A manifest that is not taken; the message is the reason that the server shows."""


class ClockError(TrustError):
    """Nothing can be said of a manifest while the device's clock is off. It may yet be set."""


def read(data: bytes, digest: str) -> wire.Manifest:
    """The manifest in `data`, whose SHA-256 must be `digest`. Raises TrustError."""
    if len(data) > wire.MAX_MANIFEST:
        raise TrustError(f"The manifest has {len(data)} bytes; the limit is {wire.MAX_MANIFEST}.")
    found = wire.digest_of(data)
    if found != digest:
        raise TrustError(f"The manifest that came has the digest {found[:12]}…, wanted was {digest[:12]}….")
    try:
        manifest = codec.decode(data, wire.Manifest, limit=wire.MAX_MANIFEST)
        wire.check(manifest)
    except (codec.WireError, wire.ManifestError) as problem:
        raise TrustError(f"The manifest is not valid: {problem}.") from problem
    sizes = {part.digest: part.size for part in manifest.parts}
    if any(part.size != sizes[part.digest] for part in manifest.parts):
        raise TrustError("The manifest gives one part two sizes.")
    return manifest


def check_class(manifest: wire.Manifest, device_class: DeviceClass) -> None:
    """Raises TrustError when the variant was made for another class of device."""
    if manifest.device_class != device_class:
        raise TrustError(
            f"The variant was made for {manifest.device_class.replace('_', ' ')} devices; "
            f"this is {'an' if device_class[0] in 'aeiou' else 'a'} {device_class.replace('_', ' ')} device."
        )
