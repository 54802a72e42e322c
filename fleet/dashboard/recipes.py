"""What was done to a model, in one line. Pure: a trial's stored recipe in, words out."""

from collections.abc import Iterator, Mapping
from typing import Any


def recipe_words(recipe: Mapping[str, Any]) -> str:
    """`prune (share 0.5, samples 512), store (bits 16)`. What is off or unset is left out, and so is the name."""
    return ", ".join(_words(recipe))


def _words(recipe: Mapping[str, Any]) -> Iterator[str]:
    for key, value in recipe.items():
        name = key.replace("_", " ")
        if key in ("name", "pass", "original") or value in (None, False, "", (), []):
            continue
        if value is True:
            yield name
        elif isinstance(value, Mapping):
            yield _inner(name, value)
        elif isinstance(value, list | tuple):
            yield from _list(name, value)
        else:
            yield f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _list(name: str, values: list[Any] | tuple[Any, ...]) -> Iterator[str]:
    """Passes follow one another; anything else is the value of its name."""
    if all(isinstance(value, Mapping) for value in values):
        for value in values:
            yield _inner(str(value.get("pass", name)), value)
    else:
        yield f"{name} " + " ".join(map(str, values))


def _inner(name: str, recipe: Mapping[str, Any]) -> str:
    inner = recipe_words(recipe)
    return f"{name} ({inner})" if inner else name
