import pytest

from kd_lab.run.describe import run_name

MLP = {"_target_": "kd_lab.models.mlp.MLP", "widths": [32]}
ENSEMBLE = {"_target_": "kd_lab.models.ensemble.Ensemble", "size": 3, "member": {"_target_": "kd_lab.models.cnn.CNN"}}
CONFIG = {"loss": {"terms": {"kd": {}, "at": {}}}}


@pytest.mark.parametrize(
    ("role", "node", "label", "expected"),
    [
        ("teacher", ENSEMBLE, "loss=kd seed=3", "teacher 3 x cnn"),
        ("baseline", MLP, "loss=kd seed=3", "mlp 32 alone seed=3"),
        ("student", MLP, "", "mlp 32 kd+at seed=3"),
        ("student", MLP, "loss=kd loss.terms.kd.temperature=2 seed=3", "mlp 32 kd+at terms.kd.temperature=2 seed=3"),
        ("student", MLP, "student=mlp dataset.seed=1", "mlp 32 kd+at dataset.seed=1 seed=3"),
    ],
)
def test_run_name__says_once_what_tells_the_run_from_others(role: str, node: dict, label: str, expected: str) -> None:
    assert run_name(role, CONFIG, node, label, 3) == expected
