"""The check of losses that were published with a first stage."""


def stage_epochs(epochs: int, *, least: int = 0) -> int:
    """How long the first stage takes; ValueError unless it is a whole number of at least `least`."""
    if isinstance(epochs, bool) or epochs != int(epochs) or epochs < least:
        raise ValueError(f"Expected `stage_epochs` to be a whole number >= {least}, but got {epochs}.")
    return int(epochs)
