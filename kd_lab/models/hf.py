"""Any text classifier of Hugging Face's transformers: by name, by folder, or small and new from a config.

Legend: B batch, L tokens of the longest text, K classes.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kd_lab.inputs import IDS
from kd_lab.models.common.inputs import check_num_classes, first_line
from kd_lab.models.common.text import check_text, trimmed


class HF(nn.Module):
    """A sequence classifier with K classes; what it answers beside the logits is left out.

    Args:
        num_classes: K.
        input_shape: of texts as tokens.
        vocab_size: how many different tokens there are.
        padding: the number of the token behind shorter texts.
        tokenizer: the one that made the tokens; empty: the words of the training texts.
        class_names: of the data, in their order.
        name: a network of the hub, or the folder of one; without `pretrained` its config alone is read.
        config: in its place `model_type` and what else the config of that type takes, such as
            {model_type: bert, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 128}.
        pretrained: start from the weights that `name` has (from the local cache, or downloaded); the classifier is new
            where it is for other classes.

    Raises:
        ValueError: no texts, no such network, or one that these texts, their tokens or their classes do not fit.
        ImportError: transformers is not installed.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Any,
        vocab_size: int | None = None,
        *,
        padding: int = 0,
        tokenizer: str | None = None,
        class_names: tuple[str, ...] = (),
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        size = check_text(input_shape, vocab_size, "hf")
        if (name is None) == (config is None):
            raise ValueError(
                "Expected `name` of a network or its `config`, one of them, such as name=prajjwal1/bert-tiny."
            )
        if pretrained and name is None:
            raise ValueError("Expected `name` of the network whose weights are wanted, because a config has none.")
        made = _of_name(str(name)) if config is None else _of_config({"vocab_size": size, **config})
        if pretrained:
            _check_tokenizer(str(name), tokenizer)
            _check_order(made, class_names)
        else:
            made.pad_token_id = padding
        if made.vocab_size < size:
            raise ValueError(
                f"Expected `vocab_size` to be at most {made.vocab_size}, the embeddings that this network has, but got "
                f"{size}: set dataset.tokenizer to its own."
            )
        made.num_labels = num_classes
        self.network = _built(made, str(name) if pretrained else None)
        self._check_length(made, input_shape[IDS][0], size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens [B, L] and the mask [B, L] to logits [B, K]."""
        input_ids, attention_mask = trimmed(self, input_ids, attention_mask)
        logits_bk: Tensor = self.network(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits_bk

    @property
    def stage_ends(self) -> tuple[str, ...]:
        """Its blocks: the row of modules that holds most of the weights."""
        rows = [(name, row) for name, row in self.named_modules() if isinstance(row, nn.ModuleList)]
        name, blocks = max(rows, key=lambda row: sum(p.numel() for p in row[1].parameters()), default=("", ()))
        return tuple(f"{name}.{place}" for place in range(len(blocks)))

    def _check_length(self, made: Any, length: int, size: int) -> None:
        """Send a text of full length through."""
        ids = torch.arange(2 * length).reshape(2, length) % size
        was_training = self.training
        self.eval()
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                self(ids, torch.ones_like(ids))
        except Exception as error:
            most = getattr(made, "max_position_embeddings", None)
            todo = f"dataset.length below {most}" if most is not None else "another network"
            raise ValueError(
                f"Expected `input_shape` to be one that {made.model_type} can take, but it fails on texts of {length} "
                f"tokens ({first_line(error)}): choose {todo}."
            ) from error
        finally:
            self.train(was_training)


def _of_name(name: str) -> Any:
    try:
        return _library().AutoConfig.from_pretrained(name)
    except Exception as error:  # whatever the library raises, for a name, a connection or a file
        raise ValueError(
            f"Expected `name` to be a folder with a config.json, or a network of the hub while online, but got {name} "
            f"({first_line(error)})."
        ) from error


def _of_config(config: Mapping[str, Any]) -> Any:
    settings = dict(config)
    kind = settings.pop("model_type", None)
    if kind is None:
        raise ValueError("Expected `config` to say its model_type, such as {model_type: bert, hidden_size: 64}.")
    try:
        with _quiet():
            return _library().AutoConfig.for_model(kind, **settings)
    except Exception as error:
        raise ValueError(
            f"Expected `config` to be one of transformers, but got {config} ({first_line(error)})."
        ) from error


def _built(made: Any, name: str | None) -> nn.Module:
    auto = _library().AutoModelForSequenceClassification
    try:
        with _quiet():
            network: nn.Module = (
                auto.from_config(made)
                if name is None
                else auto.from_pretrained(name, config=made, ignore_mismatched_sizes=True)
            )
    except Exception as error:
        raise ValueError(
            f"Expected a text classifier, but {made.model_type} cannot be built ({first_line(error)}): choose another "
            "network or other settings."
        ) from error
    return network


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError("needs transformers; pip install 'kd-lab[text]', or choose text_cnn or bilstm") from error
    return transformers


def _check_tokenizer(name: str, tokenizer: str | None) -> None:
    """Published weights know the tokens of their own tokenizer; another network's may be the same one."""
    if tokenizer is None or tokenizer == name:
        return
    if not tokenizer:
        raise ValueError(
            f"Expected `tokenizer` to be that of {name}, whose weights know no others, but got the words of the "
            f"training texts: set dataset.tokenizer={name}."
        )
    auto = _library().AutoTokenizer
    try:
        own = auto.from_pretrained(name).get_vocab()
    except Exception:  # it brings none: nothing to compare with
        return
    if own != auto.from_pretrained(tokenizer).get_vocab():
        raise ValueError(
            f"Expected `tokenizer` to be that of {name}, whose weights know no others, but got {tokenizer}, which "
            f"numbers its tokens otherwise: set dataset.tokenizer={name}."
        )


def _check_order(made: Any, class_names: tuple[str, ...]) -> None:
    """A network that was trained for these classes may have them in another order."""
    known = {int(number): str(label).lower() for number, label in (made.id2label or {}).items()}
    theirs, ours = [known[number] for number in sorted(known)], [one.lower() for one in class_names]
    if sorted(theirs) == sorted(ours) and theirs != ours:
        back = {one.lower(): one for one in class_names}
        order = ",".join(back[one] for one in theirs)
        raise ValueError(
            f"Expected `class_names` to be in the order of the network's, {order}, but got {','.join(class_names)}: "
            f"set dataset.classes=[{order}]."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No report on a classifier that is new, which was asked for, and no bar for a file that is read in no time."""
    logging: Any = _library().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
