import random

import pytest

from fleet.brokers.embedded.routing import Retained, Subscriptions, valid_filter

#: (filter, topics it matches, topics it does not): the examples of the standard's section 4.7 among them.
EXAMPLES = [
    ("a/b", ["a/b"], ["a", "a/b/c", "b/a", "A/b", "/a/b"]),
    ("sport/tennis/player1/#", ["sport/tennis/player1", "sport/tennis/player1/ranking"], ["sport/tennis/player10"]),
    ("sport/#", ["sport", "sport/x"], ["sports", "x/sport"]),
    ("#", ["a", "a/b", "/"], []),
    ("sport/+/player1", ["sport/tennis/player1"], ["sport/player1", "sport/a/b/player1", "sport/tennis/player2"]),
    ("sport/+", ["sport/", "sport/x"], ["sport", "sport/x/y"]),
    ("+/+", ["/finance", "a/b"], ["finance", "a/b/c"]),
    ("+", ["finance"], ["/finance"]),
    ("+/v1/#", ["e/v1", "e/v1/up/d"], ["e/v2/up"]),
]


@pytest.mark.parametrize(("topic_filter", "inside", "outside"), EXAMPLES)
def test_a_filter_matches_what_the_standard_says(topic_filter, inside, outside):
    routes: Subscriptions[int] = Subscriptions()
    routes.add(topic_filter, "me", 1)
    retained: Retained[str] = Retained()
    for topic in inside + outside:
        retained.set(topic, topic.upper())
    assert valid_filter(topic_filter)
    assert [topic for topic in inside + outside if routes.match(topic)] == inside
    found = retained.find(topic_filter)
    assert sorted(found) == sorted((topic, topic.upper()) for topic in inside)


@pytest.mark.parametrize("topic_filter", ["", "a#", "a/#/b", "#/a", "a+", "a/+b/c", "##", "a\0b"])
def test_a_filter_with_misplaced_wildcards_is_not_valid(topic_filter):
    assert not valid_filter(topic_filter)


def test_a_subscriber_counts_once_and_a_filter_can_be_taken_back():
    routes: Subscriptions[int] = Subscriptions()
    routes.add("a/#", "me", 0)
    routes.add("a/b", "me", 1)
    routes.add("a/b", "you", 1)
    assert routes.match("a/b").keys() == {"me", "you"}
    routes.remove("a/b", "me")
    assert routes.match("a/b") == {"me": 0, "you": 1}
    routes.remove("a/b", "nobody")
    routes.remove("x/y/z", "me")
    routes.remove("a/#", "me")
    assert routes.match("a/b") == {"you": 1}


def matches(topic_filter: str, topic: str) -> bool:
    one: Retained[bool] = Retained()
    one.set(topic, True)
    return bool(one.find(topic_filter))


def test_many_filters_and_topics_that_come_and_go_leave_nothing():
    """Each tree is the other's judge."""
    chance = random.Random(11)  # noqa: S311  # filters, not secrets
    words = ["a", "b", "c", "+"]
    routes: Subscriptions[int] = Subscriptions()
    retained: Retained[int] = Retained()
    filters: set[tuple[str, str]] = set()
    topics: dict[str, int] = {}
    for number in range(600):
        topic_filter = "/".join(chance.choices(words, k=chance.randint(1, 4))) + chance.choice(["", "/#"])
        topic = "/".join(chance.choices(words[:3], k=chance.randint(1, 4)))
        subscriber = chance.choice("xyz")
        if chance.random() < 0.6:
            routes.add(topic_filter, subscriber, 1)
            filters.add((topic_filter, subscriber))
            retained.set(topic, number)
            topics[topic] = number
        else:
            routes.remove(topic_filter, subscriber)
            filters.discard((topic_filter, subscriber))
            retained.remove(topic)
            topics.pop(topic, None)
        assert routes.match(topic).keys() == {who for each, who in filters if matches(each, topic)}
        judge: Subscriptions[int] = Subscriptions()
        judge.add(topic_filter, "judge", 1)
        assert dict(retained.find(topic_filter)) == {each: n for each, n in topics.items() if judge.match(each)}
    for topic_filter, subscriber in filters:
        routes.remove(topic_filter, subscriber)
    for topic in topics:
        retained.remove(topic)
    assert vars(routes)["_root"].below == {}
    assert vars(retained)["_root"].below == {}
