"""A rollout's page, read and steered."""

import re


def flat(answer) -> str:
    return re.sub(r"\s+", " ", answer.text)


def steer(client, rollout, does):
    return client.post(f"/rollouts/{rollout.pk}/steer", {"do": does}, follow=True)
