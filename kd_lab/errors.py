"""What a user is told when something is wrong: one sentence, no traceback."""


class UserError(ValueError):
    """The input is wrong: the message says what came, what was expected and what to do. Exit code 2."""


class TrainingFailedError(RuntimeError):
    """Training stopped by itself (a loss that is not finite, a full disk): the message says why. Exit code 1."""


class PrunedError(RuntimeError):
    """A trial of a search was stopped because others do better: the message says at which epoch. Nothing went wrong."""


def choices(given: object, expected: list[str]) -> str:
    """The end of an error message: the known names, nearest first when one is close to what was given."""
    import difflib

    near = difflib.get_close_matches(str(given), expected, n=1)
    listed = ", ".join(expected)
    return f"did you mean {near[0]}? (known: {listed})" if near else f"expected one of {listed}"
