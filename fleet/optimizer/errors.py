"""What can go wrong here, each with a sentence that a person can act on."""


class OptimizerError(Exception):
    """The base of all of them: `str(error)` is the sentence."""


class IntakeError(OptimizerError):
    """An uploaded file that is not accepted."""


class RecipeError(OptimizerError):
    """A recipe outside its ranges."""


class PassError(OptimizerError):
    """A technique that does not apply to this model."""


class SandboxError(OptimizerError):
    """A child process that crashed, ran out of a limit, or was told to stop."""


class Cancelled(OptimizerError):  # noqa: N818 - it reads as what happened: `except Cancelled`
    """Somebody asked for the work to stop."""
