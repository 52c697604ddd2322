"""How much of a mixed sample is its own."""

import math

import numpy as np


def checked(alpha: float) -> float:
    """The parameter of Beta(alpha, alpha); ValueError unless it is a finite number above 0."""
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"Expected `alpha` to be a finite number > 0, but got {alpha}.")
    return float(alpha)


def drawn(seed: int, alpha: float) -> tuple[float, np.random.Generator]:
    """A share from Beta(alpha, alpha), and what draws more: both follow from the seed, on every machine."""
    generator = np.random.default_rng(seed)
    return float(generator.beta(alpha, alpha)), generator
