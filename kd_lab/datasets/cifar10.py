"""CIFAR-10: 60,000 photographs of ten kinds of things, 32x32 pixels in color (Krizhevsky 2009)."""

from kd_lab.datasets.common.cifar import Cifar, Kind, Version

_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


class Cifar10(Cifar):
    """6,000 images of each class; mean and deviation of the training images, as everywhere."""

    kind = Kind(
        name="cifar10",
        title="CIFAR-10",
        num_classes=10,
        default="~/.cache/kd-lab/cifar10",
        mean=(0.4914, 0.4822, 0.4465),
        deviation=(0.2470, 0.2435, 0.2616),
        python=Version(
            folder="cifar-10-batches-py",
            archive="cifar-10-python.tar.gz",
            md5="c58f30108f718f92721af3b95e74349a",
            train=_BATCHES,
            test=("test_batch",),
            labels="labels",
        ),
        binary=Version(
            folder="cifar-10-batches-bin",
            archive="cifar-10-binary.tar.gz",
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            train=tuple(f"{name}.bin" for name in _BATCHES),
            test=("test_batch.bin",),
        ),
    )
