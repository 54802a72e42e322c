"""The one kind of error that people are shown."""


class Refused(ValueError):  # noqa: N818  # it reads as what happened: `except Refused`
    """Something was not allowed or not possible; the text is a sentence for the person who asked."""
