"""CIFAR-100: 60,000 photographs of a hundred kinds of things, 32x32 pixels in color (Krizhevsky 2009)."""

from kd_lab.datasets.common.cifar import Cifar, Kind, Version


class Cifar100(Cifar):
    """600 images of each fine class; mean and deviation as in the CRD repository, which the field compares with."""

    kind = Kind(
        name="cifar100",
        title="CIFAR-100",
        num_classes=100,
        default="~/.cache/kd-lab/cifar100",
        mean=(0.5071, 0.4867, 0.4408),
        deviation=(0.2675, 0.2565, 0.2761),
        python=Version(
            folder="cifar-100-python",
            archive="cifar-100-python.tar.gz",
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            train=("train",),
            test=("test",),
            labels="fine_labels",
        ),
        binary=Version(
            folder="cifar-100-binary",
            archive="cifar-100-binary.tar.gz",
            md5="03b5dce01913d631647c71ecec9e9cb8",
            train=("train.bin",),
            test=("test.bin",),
            label_bytes=2,
        ),
    )
