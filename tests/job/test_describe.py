import pytest

from kd_lab.job.describe import network_name, role_params, run_name, sweep_name

MLP = {"_target_": "kd_lab.models.mlp.MLP", "widths": [32]}
ENSEMBLE = {"_target_": "kd_lab.models.ensemble.Ensemble", "size": 3, "member": {"_target_": "kd_lab.models.cnn.CNN"}}
RESNET = {"_target_": "kd_lab.models.resnet.ResNet", "depth": 8, "channels": [32, 64, 128, 256], "recipe": {}}
CONFIG = {"loss": {"terms": {"kd": {}, "at": {}}}}


@pytest.mark.parametrize(
    ("role", "node", "label", "expected"),
    [
        ("teacher", ENSEMBLE, "loss=kd seed=3", "teacher seed=3 3 x cnn"),
        ("baseline", MLP, "loss=kd seed=3", "alone seed=3 mlp 32"),
        ("student", MLP, "", "seed=3 kd+at mlp 32"),
        ("student", MLP, "loss=[kd,at] loss.terms.kd.temperature=2 seed=3", "kd+at temperature=2 seed=3 mlp 32"),
        ("student", MLP, "student.recipe.optimizer.lr=0.1 seed=3", "lr=0.1 seed=3 kd+at mlp 32"),
        (
            "student",
            MLP,
            "teacher.widths=[8] student.widths=[4]",
            "teacher.widths=[8] student.widths=[4] seed=3 kd+at mlp 32",
        ),
        ("student", MLP, "student=mlp dataset.seed=1", "dataset.seed=1 seed=3 kd+at mlp 32"),
        ("student", MLP, 'dataset.path="für Elise/d.npz" seed=1', "path=für Elise/d.npz seed=3 kd+at mlp 32"),
    ],
)
def test_run_name__begins_with_what_tells_the_run_from_others(role: str, node: dict, label: str, expected: str) -> None:
    assert run_name(role, CONFIG, node, label, 3) == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (RESNET, "resnet8x4"),
        (RESNET | {"depth": 14}, "resnet"),
        ({"_target_": "kd_lab.models.bag_of_embeddings.BagOfEmbeddings", "width": 8}, "bag_of_embeddings"),
        (ENSEMBLE | {"member": RESNET}, "3 x resnet8x4"),
        ({"_target_": "kd_lab.models.wrn.WideResNet", "depth": 40, "width": 2}, "wrn_40_2"),
        ({"_target_": "my_module.Net", "depth": 8}, "my_module.Net"),
    ],
)
def test_network_name__is_the_choice_that_builds_just_this_network(node: dict, expected: str) -> None:
    assert network_name(node) == expected


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("sweep sweep=temperature_weight study=mine", "sweep sweep=temperature_weight study=mine"),
        ("sweep loss=kd loss.temperature=1,2 seed=0,1,2", "sweep loss.temperature=1,2 seed=0,1,2 loss=kd"),
        ("sweep loss=kd,soft_label,mse_logits,dkd,nkd", "sweep loss=kd,soft_label,mse_logits,dkd,nkd"),
        ("sweep 'student.widths=[16],[32]'", "sweep 'student.widths=[16],[32]'"),
        ("sweep study=mine sweep=seeds 'dataset.path=~/a b'", "sweep sweep=seeds 'dataset.path=~/a b' study=mine"),
        (f"sweep study={300 * 'x'}", f"sweep study={227 * 'x'}…"),
        ("sweep", "sweep"),
    ],
)
def test_sweep_name__can_be_typed(title: str, expected: str) -> None:
    assert sweep_name(title) == expected


@pytest.mark.parametrize("role", ["baseline", "student"])
def test_role_params__classes_left_out_only_where_there_are_any(role: str) -> None:
    shared = {"dataset": {}, "trainer": {}, "measure": {}, "teacher": ENSEMBLE} | CONFIG
    for left_out, expected in (([3], {"without_classes": [3]}), ([], {})):
        found = role_params(role, {**shared, "student": {**MLP, "without_classes": left_out}}, MLP, {}, 0)
        assert found["student"] == MLP | expected
