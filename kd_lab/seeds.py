"""Random numbers that follow from whole numbers alone: the same on every device, in any order, on any process.

The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), folded over the numbers: neighbouring epochs, samples and
draws do not give related streams. Legend: B samples.
"""

from torch import Tensor

_MASK = 2**64 - 1
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mixed(*numbers: int) -> int:
    """Numbers to one seed of 64 bits."""
    state = 0
    for number in numbers:
        state = (state + number + _STEP) & _MASK
        state = ((state ^ (state >> 30)) * _FIRST) & _MASK
        state = ((state ^ (state >> 27)) * _SECOND) & _MASK
        state ^= state >> 31
    return state


def of_samples(seed: int, index: Tensor) -> Tensor:
    """A seed for each sample [B] int64: `mixed(..., row)` of its row, where `seed` is what was mixed before."""
    state = index + _signed(seed + _STEP)
    state = (state ^ _shifted(state, 30)) * _signed(_FIRST)
    state = (state ^ _shifted(state, 27)) * _signed(_SECOND)
    mixed_B: Tensor = state ^ _shifted(state, 31)
    return mixed_B


def integers(seeds: Tensor, draw: int, below: int) -> Tensor:
    """A number from 0 to `below` - 1 (at most 2^31 - 1) for each sample [B] int64, another one for another `draw`."""
    drawn_B: Tensor = (_shifted(of_samples(mixed(draw), seeds), 33) * below) >> 31
    return drawn_B


def _shifted(state: Tensor, bits: int) -> Tensor:
    """To the right, as if the numbers had no sign."""
    shifted: Tensor = (state >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def _signed(number: int) -> int:
    """The number of 64 bits that int64 writes so."""
    number &= _MASK
    return number - 2**64 if number >= 2**63 else number
