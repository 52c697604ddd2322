"""What all steps share that teach a student on samples that they make; the data count steps and are not looked at."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from kd_lab import names
from kd_lab.analysis.figures.networks import pictures
from kd_lab.seeds import mixed
from kd_lab.strategies.common.asked import Watched
from kd_lab.strategies.common.generators import Generator
from kd_lab.strategies.common.strategy import Training
from kd_lab.teachers.frozen import FrozenTeacher
from kd_lab.training.distiller import Distiller

SHOWN = 64
"""So many samples are kept as a picture."""
RANGE_OF = 256
"""So many samples say between which values a sample lies; nothing else is taken of the data."""


@dataclass(frozen=True)
class Making:
    """How samples are made; what a method has no use for is 0.

    weights: of the parts of what is minimised, by name. every: the student's steps to one of the generator's, or to one
    round. learning_rate: of Adam. noise: how many numbers a sample is made from. inner_steps: of a round. samples: made
    in a round. bank: how many samples are kept.
    """

    weights: Mapping[str, float]
    every: int
    learning_rate: float
    noise: int = 0
    inner_steps: int = 0
    samples: int = 0
    bank: int = 0


class FromMade(Distiller):
    """The base: the teacher, between which values a sample lies, random numbers that follow from the step.

    Args:
        training: with one teacher.
        making: the settings.
        means: whether the means of single samples are wanted of `Watched`.
    """

    def __init__(self, training: Training, making: Making, *, means: bool = False) -> None:
        super().__init__(training.network, training.objective, compiled=training.compiled)
        (module,) = training.networks
        self.frozen, self.making, self.seed = FrozenTeacher(module), making, training.seed
        self.num_classes = training.data.num_classes
        self.watched = Watched(module, self.num_classes, means=means)
        example = training.data.example(RANGE_OF)
        assert isinstance(example, Tensor)
        self.shape, self.low, self.high = tuple(example.shape[1:]), float(example.min()), float(example.max())
        self.device = torch.device("cpu")
        self._step, self._part, self._losses = 0, 0, dict.fromkeys(making.weights, 0.0)

    @property
    def teacher_samples(self) -> int:
        """See `kd_lab.strategies.common.strategy.AsksItself`."""
        return self.watched.samples

    def attach(self, device: torch.device) -> None:
        """The teacher comes to this device."""
        super().attach(device)
        self.frozen.attach(device)
        self.watched.attach()
        self.device = device

    def bring(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """What is moved beside the student comes to the teacher's device, in memory of this process alone.

        Lightning sees to that for the parameters of a training; of all else, processes on the CPU share the memory.
        """
        module.to(self.device)
        for one in itertools.chain(module.parameters(), module.buffers()):
            one.data = one.data.clone()
        optimizer.load_state_dict(optimizer.state_dict())  # its state follows the parameters

    def release(self) -> None:
        """Take the hooks off all networks again."""
        super().release()
        self.watched.remove()
        self.frozen.release()

    def at_step(self, step: int, total_steps: int) -> None:
        """Set what is scheduled; all random numbers follow from the step."""
        super().at_step(step, total_steps)
        self._part = self._part if step == self._step else 0
        self._step = step

    def next_part(self) -> int:
        """Which batch of its step this is, from 0, where several add up to one; told to each of them once."""
        self._part += 1
        return self._part - 1

    def random(self, *purpose: int) -> torch.Generator:
        """Random numbers of this step, on the CPU, so that they are the same on every device."""
        return torch.Generator().manual_seed(mixed(self.seed, self._step, *purpose) >> 1)

    def drawn(self, count: int, *purpose: int) -> Tensor:
        """Noise [count, L] of this step."""
        return torch.randn(count, self.making.noise, generator=self.random(*purpose)).to(self.device)

    def new_generator(self, *numbers: int, normalized: bool = True) -> Generator:
        """One that nobody has trained, whose weights follow from the seed and these numbers."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed(self.seed, *numbers) >> 1)
            return Generator(self.shape, self.making.noise, self.low, self.high, normalized=normalized)

    def shown(self) -> Tensor:
        """Some of what the student was taught on last, [N, ...]."""
        raise NotImplementedError

    def figures(self) -> Mapping[str, Figure]:
        """Some samples, where they are pictures."""
        made = self.shown()
        if made.ndim != 4 or not len(made):
            return {}
        title = "samples that the student was taught on at the end"
        return {names.ARTIFACT_SAMPLES: pictures(made.movedim(1, -1).cpu().numpy(), title)}
