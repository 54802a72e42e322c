"""Every test has its own rules only."""

import pytest

from fleet.alerts.models import Rule


@pytest.fixture(autouse=True)
def only_ones_own_rules(db):
    Rule.objects.all().delete()
