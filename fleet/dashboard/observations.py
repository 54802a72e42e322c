"""What an observation weighs by its policy card: what a cloud would have to be sent for each decision."""

from collections.abc import Mapping
from typing import Any

import msgspec

from agent.inference import policy_card
from agent.inference.policy_card import Card, ImageInput, InstructionInput


def card_of(stored: Mapping[str, Any] | None) -> Card | None:
    """A version's card as it is stored; None where there is none, or none that can be read."""
    try:
        return policy_card.read(msgspec.json.encode(stored)) if stored else None
    except policy_card.CardError:
        return None


def observation_bytes(card: Card) -> int:
    """Pixels are 3 bytes, a token 8, a number of the state 4."""
    total = 0
    for spec in card.inputs.values():
        if isinstance(spec, ImageInput):
            total += 3 * spec.height * spec.width
        elif isinstance(spec, InstructionInput):
            total += 8 * spec.length
        else:
            total += 4 * spec.size
    return total
