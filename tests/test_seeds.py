import torch

from kd_lab.seeds import integers, mixed, of_samples


def test_of_samples__is_the_seed_of_each_row_by_itself() -> None:
    rows = torch.tensor([0, 1, 2, 7, 59999, 2**40])
    found = [int(seed) % 2**64 for seed in of_samples(mixed(3, 5), rows)]
    assert found == [mixed(3, 5, int(row)) for row in rows]


def test_mixed__is_the_finaliser_of_splitmix64() -> None:
    # The first numbers of SplitMix64 started at 0, by its authors' C code.
    assert [mixed(0), mixed(0x9E3779B97F4A7C15)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_integers__uniform_and_independent_of_each_other() -> None:
    seeds = of_samples(mixed(1), torch.arange(90_000))
    one, other = integers(seeds, 0, 9), integers(seeds, 1, 9)
    counts = torch.bincount(9 * one + other, minlength=81)
    assert len(counts) == 81
    # Chi-squared of 80 degrees of freedom: mean 80, standard deviation 12.6.
    assert float(((counts - 90_000 / 81) ** 2 / (90_000 / 81)).sum()) < 80 + 5 * 12.6
