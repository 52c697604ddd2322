from kd_lab.store.params import MAX_LENGTH, flatten


def test_flatten__nested__dots():
    assert flatten({"loss": {"terms": {"kd": {"weight": 0.9}}}, "seed": 3}) == {
        "loss.terms.kd.weight": "0.9",
        "seed": "3",
    }


def test_flatten__values__as_in_yaml():
    flat = flatten({"a": None, "b": True, "c": [32, "x"], "d": {}, "e": "text", "f": 1e-5})
    assert flat == {"a": "null", "b": "true", "c": '[32, "x"]', "d": "{}", "e": "text", "f": "1e-05"}


def test_flatten__too_long__says_so():
    text = flatten({"a": "x" * 7000})["a"]
    assert len(text) == MAX_LENGTH
    assert text.endswith("x...")


def test_flatten__characters_mlflow_refuses__replaced():
    assert flatten({"acc@5%": 1}) == {"acc_5_": "1"}
