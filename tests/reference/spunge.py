"""SPUNGE, one value at a time."""

import numpy as np


def spunge(
    rows: np.ndarray, categories: np.ndarray, share: float, noise: float, count: int, *, seed: int
) -> np.ndarray:
    """Draws come as `Spunge` takes them, all of a kind at once."""
    random = np.random.default_rng(seed)
    total, columns = rows.shape
    how_many = random.integers(1, max(1, int(share * columns)), size=(count, 1), endpoint=True)
    order = random.random((count, columns))
    donors = random.integers(total, size=(count, columns))
    coins = random.random((count, columns))
    normal = random.standard_normal((count, columns))
    made = np.empty((count, columns))
    for m in range(count):
        first = sorted(range(columns), key=lambda c, m=m: order[m, c])[: how_many[m, 0]]
        for c in range(columns):
            value = rows[donors[m, c], c] if c in first else rows[m % total, c]
            if not categories[c] and coins[m, c] < share:
                value = value + normal[m, c] * noise * np.nanstd(rows[:, c])
            made[m, c] = value
    return made
