"""MNIST: 70,000 handwritten digits of 28x28 pixels (LeCun, Cortes and Burges, 1998)."""

from kd_lab.datasets.common.idx import IdxImages, Kind


class Mnist(IdxImages):
    """Images [70000, 1, 28, 28] uint8; mean and deviation as everywhere."""

    kind = Kind("mnist", "MNIST", "~/.cache/kd-lab/mnist", 0.1307, 0.3081)
