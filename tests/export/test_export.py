"""`kd-lab export`: the file answers as the run's network does, or nothing is written."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import kd_lab
from kd_lab import names
from kd_lab.analysis.runs import runs
from kd_lab.cli.main import _main
from kd_lab.errors import UserError
from kd_lab.export import export as module
from kd_lab.export.compared import Answers, checked
from kd_lab.export.forms import whole_of
from kd_lab.export.onnx_file import in_onnxruntime, write_onnx
from kd_lab.export.samples import difference
from kd_lab.export.whole import Whole, WholeOfNamed
from kd_lab.job.pyfunc import Description, rebuilt
from kd_lab.models.sklearn import SklearnEstimator
from kd_lab.store.location import Location
from kd_lab.store.run import Run
from kd_lab.store.store import Store
from kd_lab.store.stored_run import StoredRun

URI = "sqlite:///mlflow.db"
QUICK = [
    "student.recipe.steps=30",
    "student.recipe.batch_size=20",
    "measure.latency_runs=3",
    "measure.figures=false",
    "measure.latency_warmup=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """With a finished job on bytes that are standardized, and its id in a file."""
    made = tmp_path_factory.mktemp("export")
    (made / "mlflow.db").write_bytes(empty_store.read_bytes())
    y = np.arange(90) % 3
    X = (np.random.default_rng(0).integers(0, 80, (90, 6)) + 80 * (np.arange(6) % 3 == y[:, None])).astype(np.uint8)
    np.savez(made / "my.npz", X=X[:60], y=y[:60], X_test=X[60:], y_test=y[60:])
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(made)
        given = ["dataset=arrays", "dataset.path=my.npz", "dataset.standardize=true", "teacher=none", "loss=none"]
        result = kd_lab.distil(*given, *QUICK, quiet=True)
    (made / "id").write_text(result.student.run_id)
    return made


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    shutil.rmtree("out", ignore_errors=True)
    Path("out").mkdir()
    return Path("id").read_text()


def samples() -> tuple[np.ndarray, np.ndarray]:
    """The raw test samples, and what the run said of them."""
    with Store.existing(URI).get(Path("id").read_text()).opened(names.ARTIFACT_PREDICTIONS) as file:
        answered = np.load(file)["probabilities"]
    return np.load("my.npz")["X_test"], answered


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(dim=1).numpy()


def left() -> list[str]:
    return sorted(file.name for file in Path("out").iterdir())


def exports() -> list[StoredRun]:
    """The runs of exports, the newest first."""
    return Store.existing(URI).finished("arrays", names.EXPORT)


@pytest.mark.slow
def test_safetensors__the_weights_and_what_builds_the_network(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["export", f"run={run[:8]}", "format=safetensors", "out=out/s.safetensors", "licence=CC BY 4.0"]) == 0
    assert left() == ["s.json", "s.md", "s.safetensors"]
    description = Description.of_file(Path("out/s.json"))
    raw, answered = samples()
    model = description.model(rebuilt(description, Path("out/s.safetensors")))
    np.testing.assert_allclose(softmax(model.predict(raw)), answered, atol=1e-6)
    said = capsys.readouterr().out
    assert "Checked: largest difference of a logit to PyTorch's 0 on 30 test samples of arrays (" in said
    card = Path("out/s.md").read_text()
    for line in (
        f"| run | {run}, study arrays |",
        "| licence of the data | CC BY 4.0 |",
        "| takes | uint8 [batch, 6] |",
        "whoever loads the weights does to them:",
        "on 30 test samples (95% interval ",
    ):
        assert line in card
    assert "kd_lab.datasets.common.scaled.Scaled" in card


def test_run__beside_its_source__what_was_measured_and_the_files(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = runs("arrays", URI)
    assert _main(["export", f"run={run}", "format=safetensors", "out=out/s.safetensors"]) == 0
    kept = exports()[0]
    assert f"Kept as run {kept.run_id}, under run {run[:8]} of study arrays." in capsys.readouterr().out
    source, there = Store.existing(URI).get(run), Path("out/s.safetensors")
    assert kept.study == source.study
    assert kept.tags[names.TAG_PARENT] == kept.tags[names.TAG_SOURCE_RUN] == run
    assert kept.tags[names.TAG_RUN_NAME] == f"safetensors of {source.tags[names.TAG_RUN_NAME]}"
    assert "on 30 test samples of arrays" in kept.tags[names.TAG_NOTE]
    assert {key: value for key, value in kept.params.items() if key.startswith("export.")} == {
        "export.format": "safetensors",
        "export.weights": "last",
        "export.tolerance": "0.0001",
    }
    assert kept.params["network"] == source.params["network"]
    assert kept.metrics[names.TEST_ACCURACY_TOP1] == source.metrics[names.TEST_ACCURACY_TOP1]
    assert kept.metrics[names.TEST_SOURCE_AGREEMENT_TOP1] == 1
    assert kept.metrics[names.COST_WEIGHTS_BYTES] == there.stat().st_size
    assert 0 < kept.metrics[names.COST_LATENCY_MS_P50] <= kept.metrics[names.COST_LATENCY_MS_P95]
    for file in Path("out").iterdir():
        with kept.opened(f"export/network{file.suffix}") as copy:
            assert copy.read_bytes() == file.read_bytes()
    assert before["run_id"].tolist() == runs("arrays", URI)["run_id"].tolist(), "a comparison reads it"


def test_run__a_store_that_may_only_be_read__one_line(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(exports())
    monkeypatch.setattr(Location, "may_be_written", lambda _: False)
    assert _main(["export", f"run={run}", "format=safetensors", "out=out/s.safetensors"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "No run was kept of it: this store may only be read."
    assert left() == ["s.json", "s.md", "s.safetensors"]
    assert len(exports()) == before


def test_run__what_fails_on_the_way__one_line_and_a_run_that_failed(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(*_: object) -> None:
        raise OSError(5, "Input/output error")

    before = len(exports())
    monkeypatch.setattr(Run, "log_measurement", gone)
    assert _main(["export", f"run={run}", "format=safetensors", "out=out/s.safetensors"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "No run was kept of it ([Errno 5] Input/output error)."
    assert left() == ["s.json", "s.md", "s.safetensors"]
    assert len(exports()) == before, "a run that is not whole ended as if it were"


def test_card__interval__as_scipy_has_it(run: str) -> None:
    from scipy.stats import binomtest

    _main(["export", f"run={run}", "format=safetensors", "out=out/s.safetensors"])
    right = round(30 * Store.existing(URI).get(run).metrics[names.TEST_ACCURACY_TOP1])
    low, high = binomtest(right, 30).proportion_ci(0.95, method="exact")
    assert (
        f"{right / 30:.2%} on 30 test samples (95% interval {low:.2%} to {high:.2%}, binomial)"
        in Path("out/s.md").read_text()
    )
    assert "| licence of the data | not known |" in Path("out/s.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "int8"])
def test_onnx__raw_samples_in_batches_of_every_size(run: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    import onnxruntime

    assert _main(["export", f"run={run}", f"format={form}", "out=out/s.onnx"]) == 0
    assert left() == ["s.md", "s.onnx"]
    session = onnxruntime.InferenceSession("out/s.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("input", "tensor(uint8)", ["batch", 6])
    assert session.get_outputs()[0].shape == ["batch", 3]
    assert session.get_modelmeta().custom_metadata_map["run"] == run
    raw, answered = samples()
    for size in (1, 7, 30):
        (logits,) = session.run(None, {"input": raw[:size]})
        np.testing.assert_allclose(softmax(logits), answered[:size], atol=1e-5 if form == "onnx" else 0.05)
    said = capsys.readouterr().out
    assert "s.onnx: ONNX opset " in said
    if form == "int8":
        assert "int8 (2 Gemm; all else float32) calibrated on 60 transfer samples" in said
        header = next(line for line in said.splitlines() if "PyTorch" in line)
        assert [word for word in header.split() if word.isalnum()] == ["PyTorch", "onnx", "int8"]
    (kept, *_) = exports()
    assert (kept.params["export.format"], kept.tags[names.TAG_SOURCE_RUN]) == (form, run)
    assert kept.tags["kd_lab.version.onnxruntime"] == onnxruntime.__version__
    right = (logits.argmax(axis=1) == np.load("my.npz")["y_test"]).mean()
    same = (logits.argmax(axis=1) == answered.argmax(axis=1)).mean()
    assert kept.metrics[names.TEST_ACCURACY_TOP1] == pytest.approx(right)
    assert kept.metrics[names.TEST_SOURCE_AGREEMENT_TOP1] == pytest.approx(same)
    with kept.opened("export/network.onnx") as file:
        assert file.read_bytes() == Path("out/s.onnx").read_bytes()


@pytest.mark.slow
def test_torch_export__loaded_without_kd_lab(run: str) -> None:
    assert _main(["export", f"run={run}", "format=torch_export", "out=out/s.pt2"]) == 0
    raw, answered = samples()
    network = torch.export.load("out/s.pt2").module()
    for size in (1, 30):
        logits = network(torch.from_numpy(raw[:size])).detach().numpy()
        np.testing.assert_allclose(softmax(logits), answered[:size], atol=1e-6)


def test_safetensors__data_away__checked_on_the_example_that_was_kept(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my.npz").rename("away.npz")
    try:
        assert _main(["export", f"run={run}", "format=safetensors", "out=out/s.safetensors"]) == 0
        said = capsys.readouterr().out
        assert "on the one example that the run kept, since its data cannot be loaded (" in said
        assert "accuracy, %" not in said
    finally:
        Path("away.npz").rename("my.npz")


WRONG = [
    ("run=1", r"expected a run, a format and a file: kd-lab export run=ID format=onnx out=FILE.onnx$"),
    ("run={run} format=onx out=out/s.onnx", r"format=onx: did you mean onnx\? \(known: onnx, torch_export, "),
    ("run={run} format=onnx out=out/s.pt", r"out=out/s.pt: expected a file that ends in .onnx, as format=onnx$"),
    ("run={run} format=onnx out=no/s.onnx", r"out=no/s.onnx: there is no folder no; make it, or choose another$"),
    ("run=ffff0000 format=safetensors out=out/s.safetensors", r"ffff0000"),
    ("run={run} format=onnx out=out/s.onnx tolerance=no", r"tolerance=no: expected a number above 0, such as"),
    ("run={run} format=onnx out=out/s.onnx tolerance=nan", r"tolerance=nan: expected a number above 0, such as"),
    ("run={run} format=onnx out=out/s.onnx overwrite=yes", r"overwrite=yes: expected true or false$"),
    ("run={run} format=onnx out=out/s.onnx weights=first", r"weights=first: expected last or best$"),
    ("run={run} form=onnx out=out/s.onnx", r"form=onnx: expected one of run=..., format=..., out=..., "),
    ("run={run} format=safetensors weights=best out=out/s.safetensors", r"has no artifact model/weights_best.safeten"),
]


@pytest.mark.parametrize(("typed", "message"), WRONG)
def test_command__wrong_input__one_sentence_and_nothing_written(
    run: str, typed: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert _main(["export", *typed.format(run=run).split()]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert re.search(message, said), said
    assert left() == []


def test_command__a_file_is_there__stays_unless_told(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["export", f"run={run}", "format=safetensors", "out=out/s.safetensors"]
    Path("out/s.md").write_text("mine")
    assert _main(typed) == 2
    assert "out/s.md is there already; choose another name, or add overwrite=true" in capsys.readouterr().err
    assert (left(), Path("out/s.md").read_text()) == (["s.md"], "mine")
    assert _main([*typed, "overwrite=true"]) == 0
    assert left() == ["s.json", "s.md", "s.safetensors"]
    assert Path("out/s.md").read_text() != "mine"


def test_command__packages_away__how_to_get_them(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert _main(["export", f"run={run}", "format=onnx", "out=out/s.onnx"]) == 2
    expected = "format=onnx: expected onnx, onnxruntime, onnxscript, not installed here: pip install 'kd-lab[export]'"
    assert capsys.readouterr().err.strip() == f"kd-lab: {expected}"


def test_export__answers_differ__nothing_is_written(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(exports())
    monkeypatch.setattr(module, "compared", lambda part, source: Answers(0.5, 1.0, 1.0))
    asked = module.Export(run, "safetensors", Path("out/s.safetensors"))
    with pytest.raises(UserError, match=r"^tolerance=0.0001: its logits differ from PyTorch's by up to 0.5 on 30 test"):
        module.export(asked, URI)
    assert left() == []
    assert len(exports()) == before, "a refused file has a run"


def test_export__a_full_disk__nothing_is_left(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "card", full)
    asked = module.Export(run, "safetensors", Path("out/s.safetensors"))
    with pytest.raises(UserError, match=r"^out=out/s.safetensors: cannot be written \(No space left on device\)"):
        module.export(asked, URI)
    assert left() == []


def test_export__a_changed_weight__refused(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "weights_sha256", lambda network: "other")
    asked = module.Export(run, "safetensors", Path("out/s.safetensors"))
    with pytest.raises(UserError, match=r"its weights are not what it recorded, their sha256 differs"):
        module.export(asked, URI)
    assert left() == []


def test_whole__a_fitted_estimator__one_sentence() -> None:
    from sklearn.naive_bayes import GaussianNB

    description = Description({}, 3, (4,))
    with pytest.raises(UserError, match=r"^run=1: is a fitted estimator of scikit-learn's kind, no network of tensors"):
        whole_of(SklearnEstimator(GaussianNB(), 3), description, "1")


class Pooled(nn.Module):
    """The mean embedding of the tokens that count, [B, L] and [B, L] to [B, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        weight = mask.float().unsqueeze(2)
        return self.head((self.embedding(input_ids) * weight).sum(dim=1) / weight.sum(dim=1))


@pytest.mark.slow
def test_onnx__inputs_of_several_names(tmp_path: Path) -> None:
    import onnxruntime

    ids, mask = torch.randint(10, (6, 5)), torch.rand(6, 5) > 0.3
    mask[:, 0] = True
    whole = WholeOfNamed(Pooled(), ()).eval()
    path = tmp_path / "named.onnx"
    write_onnx(whole, {"input_ids": ids[:2], "mask": mask[:2]}, path, {"classes": json.dumps(["a", "b", "c"])})
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape) for one in session.get_inputs()] == [
        ("input_ids", ["batch", 5]),
        ("mask", ["batch", 5]),
    ]
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["a", "b", "c"]
    found = in_onnxruntime(path, threads=1)(input_ids=ids, mask=mask)
    torch.testing.assert_close(found, whole(input_ids=ids, mask=mask), rtol=0, atol=1e-6)


def test_difference__not_finite_or_another_shape__infinite() -> None:
    one = torch.zeros(2, 3)
    assert difference(one, one + 0.25) == 0.25
    assert difference(one, torch.full((2, 3), torch.nan)) == float("inf")
    assert difference(one, torch.zeros(2, 2)) == float("inf")


def test_checked__in_units_of_the_largest_logit() -> None:
    class Source:
        class samples:
            told = "samples"

    assert checked(Answers(0.009, 100.0, 1.0), Source, 1e-4).endswith("samples (0.01 allowed)")  # type: ignore[arg-type]
    assert checked(Answers(9.0, 1.0, 0.5), Source, None).endswith("the same class for 50.00%")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"more than the 0\.01 allowed; nothing was written"):
        checked(Answers(0.011, 100.0, 1.0), Source, 1e-4)  # type: ignore[arg-type]


class Undecided(nn.Module):
    """What it does follows from the numbers that it is given."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * 2 if float(inputs.sum()) > 0 else inputs


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_export__what_cannot_be_traced__one_sentence(run: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "whole_of", lambda *_: Whole(Undecided(), ()).eval())
    asked = module.Export(run, form, Path(f"out/s{module.FORMATS[form].ending}"))  # type: ignore[index]
    with pytest.raises(
        UserError, match=rf"^format={form}: this network cannot be exported so \(.*\); choose format=safe"
    ):
        module.export(asked, URI)
    assert left() == []
