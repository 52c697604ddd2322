"""What a user is told when something is wrong: one sentence, no traceback."""

import re


def masked(text: str) -> str:
    """The text with the login of every address in it left out: `http://***@server`."""
    return re.sub(r"(?<=http://)\S*@|(?<=https://)\S*@", "***@", text)


class UserError(ValueError):
    """The input is wrong: the message says what came, what was expected and what to do. Exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(masked(message))


class TrainingFailedError(RuntimeError):
    """Training stopped by itself (a loss that is not finite, a full disk): the message says why. Exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(masked(message))


class PrunedError(RuntimeError):
    """A trial of a search was stopped because others do better: the message says at which epoch. Nothing went wrong."""


def choices(given: object, expected: list[str]) -> str:
    """The end of an error message: the known names, nearest first when one is close to what was given, in any case."""
    import difflib

    lower = {name.lower(): name for name in reversed(expected)}
    near = [lower[name] for name in difflib.get_close_matches(str(given).lower(), lower, n=1)]
    listed = ", ".join(expected)
    return f"did you mean {near[0]}? (known: {listed})" if near else f"expected one of {listed}"
