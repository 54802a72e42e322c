import pytest

from agent.inference import policy_card
from agent.inference.policy_card import Card
from fleet.demo.policy import ASSETS


@pytest.fixture(scope="session")
def card() -> Card:
    return policy_card.read((ASSETS / "card.json").read_bytes())
