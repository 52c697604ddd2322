"""What `trainer=fsdp` refuses before anything is trained, and what is told of it."""

import pytest

from kd_lab.errors import UserError
from kd_lab.job.notes import described
from tests.job.composed import CNNS, plan

FSDP = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2"]
CUSTOM = ["student/recipe/optimizer=custom", "student.recipe.optimizer._target_=torch.optim.Adafactor"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["trainer.devices=1"],
            "trainer=fsdp: one process has nothing to share out; expected two or more, such as trainer.accelerator=cpu "
            "trainer.devices=2, or trainer=cpu or trainer=gpu",
        ),
        (
            ["student.recipe.ema=0"],
            "student.recipe.ema=0: not with trainer=fsdp, where no process has the weights that would be averaged; "
            "expected null, or trainer=ddp",
        ),
        (
            ["teacher.recipe.compile=true"],
            "teacher.recipe.compile=true: not with trainer=fsdp, where torch.compile was not tried with pieces of "
            "weights; expected false, or trainer=ddp",
        ),
        (
            ["baseline.recipe.channels_last=true"],
            "baseline.recipe.channels_last=true: not with trainer=fsdp, where weights are split in their usual order; "
            "expected false, or trainer=ddp",
        ),
        (
            ["student.recipe.precision=16-mixed"],
            "student.recipe.precision=16-mixed: not with trainer=fsdp, where each process would scale its piece by "
            "itself; expected 32 or bf16-mixed, or trainer=ddp",
        ),
        (
            ["measure.gradients=true"],
            "measure.gradients=true: no process of trainer=fsdp has the whole gradient; expected "
            "measure.gradients=false, or trainer=ddp",
        ),
        (
            ["strategy=dwa"],
            "strategy=dwa: trainer=fsdp knows plain distillation alone, and this one has steps of its own; expected "
            "strategy=none, born_again or self_training, or trainer=ddp",
        ),
        (
            ["loss=ctkd"],
            "loss=ctkd: its parameter theta is a single number without an axis, which trainer=fsdp cannot split; "
            "expected one of shape [1], or trainer=ddp",
        ),
        (
            CUSTOM,
            "student.recipe.optimizer._target_=torch.optim.Adafactor: keeps numbers of a weight that are not one for "
            "each element, which trainer=fsdp cannot share out; expected another one, such as adam, or trainer=ddp",
        ),
    ],
)
def test_fsdp__refuses_in_a_sentence(overrides: list[str], told: str) -> None:
    with pytest.raises(UserError) as error:
        plan(*FSDP, *overrides)
    assert str(error.value) == told


@pytest.mark.parametrize("overrides", [["loss=crd", *CNNS], ["strategy=born_again"], ["teacher=none", "loss=ps_kd"]])
def test_fsdp__takes_and_tells(overrides: list[str]) -> None:
    told = described(plan(*FSDP, *overrides))
    assert told[-1] == (
        "2 processes share out weights, gradients and optimizer state of what is trained (FSDP2); while a batch is "
        "learned from, each has all weights and gradients, and a teacher that is asked"
    )
    assert not any("FSDP2" in line for line in described(plan("trainer=ddp", *FSDP[1:], *overrides)))
