"""Fashion-MNIST: 70,000 grey pictures of ten kinds of clothes, 28x28 pixels, files as of MNIST.

Source: Xiao, Rasul and Vollgraf 2017 (arXiv:1708.07747).
"""

from kd_lab.datasets.common.idx import IdxImages, Kind


class FashionMnist(IdxImages):
    """Images [70000, 1, 28, 28] uint8; mean and deviation as everywhere."""

    kind = Kind("fashion_mnist", "FashionMNIST", "~/.cache/kd-lab/fashion-mnist", 0.2860, 0.3530)
