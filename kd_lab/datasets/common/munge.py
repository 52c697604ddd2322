"""MUNGE: rows that look like those of a table, made of them, for a teacher to label.

Source: Bucila, Caruana and Niculescu-Mizil 2006, "Model compression", KDD. Each row is paired with its nearest
neighbour; with probability p the two swap an attribute, of categories as they are, of numbers drawn around the swapped
values with the deviation |difference| / s. Neighbours are sought by the Euclidean distance of numbers brought to 0..1,
a category that differs counting 1. Where we differ: neighbours are those of the rows as they were, not as rows before
them in the same pass left them; a missing value is swapped like a category, and for distances is the median.
Legend: N rows, C columns, M rows made.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Munge:
    """How: probability p of a swap, and s, which the deviation of numbers is divided by.

    Raises:
        ValueError: p is no probability, or s is not above 0.
    """

    probability: float
    spread: float

    def __post_init__(self) -> None:
        """Look at the settings."""
        if not 0 <= self.probability <= 1:
            raise ValueError(f"Expected `munge_probability` to be from 0 to 1, but got {self.probability}.")
        if not self.spread > 0:
            raise ValueError(f"Expected `munge_spread` to be > 0, but got {self.spread}.")

    def __call__(self, rows: Rows, categories: Flags, count: int, seed: int) -> Rows:
        """As many new rows [M, C].

        Args:
            rows: [N, C], two or more: numbers, codes of categories, NaN where there is no value.
            categories: [C], which columns hold codes.
            count: M.
            seed: what is drawn follows from it.
        """
        random = np.random.default_rng(seed)
        nearest = neighbours(rows, categories)
        passes = [self._pass(rows, categories, nearest, random) for _ in range(-(-count // len(rows)))]
        last = random.permutation(len(rows))[: count - len(rows) * (len(passes) - 1)]
        return np.concatenate([*passes[:-1], passes[-1][np.sort(last)]])

    def _pass(self, rows: Rows, categories: Flags, nearest: npt.NDArray[np.int64], random: np.random.Generator) -> Rows:
        """All rows once, in order; a row is changed with its own turn, and where it is another's neighbour."""
        made = rows.copy()
        for here, there in enumerate(nearest):
            one, other = made[here].copy(), made[there].copy()
            swaps = random.random(rows.shape[1]) < self.probability
            noise = random.standard_normal((2, rows.shape[1]))
            deviation = np.where(categories, 0, np.abs(one - other) / self.spread)
            deviation[np.isnan(deviation)] = 0
            made[here] = np.where(swaps, other + noise[0] * deviation, one)
            made[there] = np.where(swaps, one + noise[1] * deviation, other)
        return made


def neighbours(rows: Rows, categories: Flags) -> npt.NDArray[np.int64]:
    """Of each row [N] the number of the nearest other one."""
    from sklearn.neighbors import NearestNeighbors

    numbers = rows[:, ~categories]
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(numbers).all(axis=0)
    numbers = numbers[:, known]
    numbers = np.where(np.isnan(numbers), np.nanmedian(numbers, axis=0), numbers) if numbers.size else numbers
    low, high = (numbers.min(axis=0), numbers.max(axis=0)) if numbers.size else (0.0, 1.0)
    numbers = (numbers - low) / np.where(np.asarray(high) > low, high - low, 1)
    codes = np.nan_to_num(rows[:, categories], nan=-2)
    hot = [(codes[:, [place]] == np.unique(codes[:, place])) / np.sqrt(2) for place in range(codes.shape[1])]
    points = np.concatenate([numbers, *hot], axis=1)
    found: npt.NDArray[np.int64] = NearestNeighbors(n_neighbors=1).fit(points).kneighbors(return_distance=False)
    return found[:, 0]  # without points of its own to ask for, a row is not counted as its neighbour
