"""What several networks of one training are asked for alike: each by itself, by the same objective."""

from kd_lab.strategies.common.strategy import Parties


def check_asked_of_each(parties: Parties, key: str) -> None:
    """Every term of the objective can be asked of each network by itself.

    Args:
        parties: of the job.
        key: the setting that makes the networks several.

    Raises:
        ValueError: the loss compares layers, or remembers samples.
    """
    if parties.compares_layers:
        raise ValueError(f"{key}: a loss of layers is bound to one network; expected a loss of logits, or loss=none")
    for name, term in parties.objective.terms.items():
        if term.loss.has_memory:
            raise ValueError(f"{key}: loss={name} remembers what one network said; expected another, or loss=none")
