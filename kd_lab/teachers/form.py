"""How answers are kept."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Form:
    """How answers are kept.

    dtype: "float32" keeps what is answered as it is, "float16" in half the bytes. top_k: of each answer the k most
    probable classes alone, as log-probabilities at T = 1; what they leave of the probability, `recovery` gives to the
    other classes evenly ("spread") or not at all ("renormalise"): Shen and Xing 2022 (arXiv:2112.01528).
    """

    dtype: Literal["float32", "float16"] = "float32"
    top_k: int | None = None
    recovery: Literal["spread", "renormalise"] = "spread"

    @property
    def is_exact(self) -> bool:
        """Whether what is given back is what was answered."""
        return self.dtype == "float32" and self.top_k is None
