"""The attention of a transformer, seen from outside: the linear layers that make queries, keys and values."""

from collections.abc import Sequence

from torch import nn

from kd_lab.errors import UserError
from kd_lab.insight.probe import Layer, Probe

NAMES = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("q_proj", "k_proj", "v_proj"), ("q", "k", "v"))
"""What the three are called side by side: BERT and its kin; DistilBERT; BART, OPT, Llama; T5."""
HEADS = ("num_attention_heads", "n_heads", "num_heads", "num_key_value_heads")


def attentions(probe: Probe, path: str = "") -> list[tuple[Layer, Layer, Layer]]:
    """Query, key and value of every attention within a module, in the order in which they are called.

    Raises:
        ValueError: there is none, or one layer makes all three.
    """
    found = []
    for name, layer in probe.layers.items():
        parent, _, own = name.rpartition(".")
        if path and not name.startswith(f"{path}."):
            continue
        three = next((names for names in NAMES if names[0] == own), None)
        layers = [probe.layers.get(f"{parent}.{one}") for one in three or ()]
        if len(layers) == 3 and all(one is not None and issubclass(one.kind, nn.Linear) for one in layers):
            query, key, value = layers
            assert query is not None and key is not None and value is not None  # noqa: PT018 (for mypy)
            found.append((max(layer.order, key.order, value.order), query, key, value))
    if not found:
        where = f" in {path}" if path else ""
        raise ValueError(
            f"expected a transformer whose attention has a linear layer each for query, key and value, such as BERT's, "
            f"but {type(probe.network).__name__} has none{where}; choose teacher=hf and student=hf of such a type"
        )
    return [(query, key, value) for _, query, key, value in sorted(found, key=lambda one: one[0])]


def heads(probe: Probe, paths: Sequence[str]) -> int:
    """Into how many heads the attention splits what these layers say.

    Raises:
        UserError: the modules around them do not tell.
    """
    for path in paths:
        parts = path.split(".")
        for end in range(len(parts) - 1, 0, -1):
            module = probe.network.get_submodule(".".join(parts[:end]))
            for name in HEADS:
                count = getattr(module, name, None)
                if isinstance(count, int):
                    return count
    raise UserError(
        f"{type(probe.network).__name__} does not tell how many heads its attention has; expected a module around "
        f"{paths[0] if paths else 'it'} with num_attention_heads, num_heads or n_heads"
    )
