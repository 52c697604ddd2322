"""A network that a loss puts in the student's place: made of the student's layers, and deployed as it is."""

from torch import nn


class Deployed(nn.Module):
    """What a loss's `deploys` names. It says itself what is compared, and takes what it needs of the teacher.

    compares: a layer of this network, by its path, and the layer of the teacher that it learns from, by its name there.
    """

    compares: tuple[str, str]

    def adopt(self, classifier: nn.Module) -> None:
        """Take over the teacher's classifier, once the teacher is trained."""
        raise NotImplementedError
