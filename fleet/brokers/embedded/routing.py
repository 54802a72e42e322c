"""Which subscriptions a topic matches, and which topics a subscription: trees of levels, so that devices cost nothing.

amqtt compares a message with every filter of every client; with 1,000 devices that alone took milliseconds a message.
"""

from typing import Generic, TypeVar

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("below", "here", "rest")

    def __init__(self) -> None:
        self.below: dict[str, _Node[T]] = {}
        #: Filters that end at this level, and those that end here with `#`, by subscriber.
        self.here: dict[str, T] = {}
        self.rest: dict[str, T] = {}


class Subscriptions(Generic[T]):
    """Filters of many subscribers, each with a value of type T. Filters are valid (`valid_filter`)."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, topic_filter: str, subscriber: str, value: T) -> None:
        """A second time replaces the value."""
        levels = topic_filter.split("/")
        node = self._root
        for level in levels[:-1] if levels[-1] == "#" else levels:
            node = node.below.setdefault(level, _Node())
        (node.rest if levels[-1] == "#" else node.here)[subscriber] = value

    def remove(self, topic_filter: str, subscriber: str) -> None:
        """What is not there is not missed. Levels that nobody needs any more go too."""
        levels = topic_filter.split("/")
        deep = levels[-1] == "#"
        path = [self._root]
        for level in levels[:-1] if deep else levels:
            node = path[-1].below.get(level)
            if node is None:
                return
            path.append(node)
        (path[-1].rest if deep else path[-1].here).pop(subscriber, None)
        for depth in range(len(path) - 1, 0, -1):
            node = path[depth]
            if node.below or node.here or node.rest:
                return
            del path[depth - 1].below[levels[depth - 1]]

    def match(self, topic: str) -> dict[str, T]:
        """Each subscriber once, however many of its filters match."""
        found: dict[str, T] = {}
        levels = topic.split("/")
        nodes = [self._root]
        for level in levels:
            following: list[_Node[T]] = []
            for node in nodes:
                found.update(node.rest)
                for step in (level, "+"):
                    child = node.below.get(step)
                    if child is not None:
                        following.append(child)
            nodes = following
        for node in nodes:
            found.update(node.here)
            found.update(node.rest)  # `a/#` also matches `a`
        return found


def valid_filter(topic_filter: str) -> bool:
    """Whether wildcards stand where MQTT allows them (sections 4.7.1.2 and 4.7.1.3)."""
    if not topic_filter or "\0" in topic_filter:
        return False
    levels = topic_filter.split("/")
    return not any(
        ("+" in level and level != "+") or ("#" in level and (level != "#" or place != len(levels) - 1))
        for place, level in enumerate(levels)
    )


class _Place(Generic[T]):
    __slots__ = ("below", "kept")

    def __init__(self) -> None:
        self.below: dict[str, _Place[T]] = {}
        self.kept: tuple[str, T] | None = None


class Retained(Generic[T]):
    """One value for each topic that has one, found by filters."""

    def __init__(self) -> None:
        self._root: _Place[T] = _Place()

    def set(self, topic: str, value: T) -> None:
        place = self._root
        for level in topic.split("/"):
            place = place.below.setdefault(level, _Place())
        place.kept = topic, value

    def remove(self, topic: str) -> None:
        """What is not there is not missed."""
        path, levels = [self._root], topic.split("/")
        for level in levels:
            place = path[-1].below.get(level)
            if place is None:
                return
            path.append(place)
        path[-1].kept = None
        for depth in range(len(path) - 1, 0, -1):
            if path[depth].below or path[depth].kept:
                return
            del path[depth - 1].below[levels[depth - 1]]

    def find(self, topic_filter: str) -> list[tuple[str, T]]:
        """All topics that a valid filter matches, with their values."""
        levels = topic_filter.split("/")
        deep = levels[-1] == "#"
        places = [self._root]
        for level in levels[:-1] if deep else levels:
            if level == "+":
                places = [below for place in places for below in place.below.values()]
            else:
                places = [place.below[level] for place in places if level in place.below]
        if deep:
            for place in places:  # grows while it is walked: everything below, and `a/#` also matches `a`
                places.extend(place.below.values())
        return [place.kept for place in places if place.kept]
