"""Why a request of a device is not answered: a status, one of the reasons that are counted, and a sentence."""


class Refusal(Exception):  # noqa: N818  # it reads as what happened
    """device is whose request it was, where that is known; retry_after whole seconds."""

    def __init__(self, status: int, reason: str, sentence: str, retry_after: int = 0, device: str = "") -> None:
        super().__init__(sentence)
        self.status, self.reason, self.sentence = status, reason, sentence
        self.retry_after, self.device = retry_after, device
