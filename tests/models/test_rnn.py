import pytest
import torch
from torch import nn

from kd_lab.models.rnn import RNN


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3)])
def test_rnn__parameters_by_hand(cell, gates):
    module = RNN(10, (5, 8), cell=cell, hidden=16, layers=2)
    recurrent = gates * 16 * ((8 + 16 + 2) + (16 + 16 + 2))
    assert sum(p.numel() for p in module.parameters()) == recurrent + 16 * 10 + 10


def test_rnn__an_image_is_its_rows():
    torch.manual_seed(0)
    image, sequence = RNN(3, (2, 4, 5), hidden=6), RNN(3, (4, 10), hidden=6)
    sequence.load_state_dict(image.state_dict())
    inputs = torch.randn(7, 2, 4, 5)
    # Step h holds row h of channel 0, then row h of channel 1.
    rows = torch.stack([torch.cat([inputs[:, 0, h], inputs[:, 1, h]], dim=1) for h in range(4)], dim=1)
    torch.testing.assert_close(image(inputs), sequence(rows))


def test_rnn__gru_answers_from_the_last_state():
    torch.manual_seed(0)
    module, inputs = RNN(3, (4, 5), cell="gru", hidden=6, layers=2), torch.randn(2, 4, 5)
    _, last = module.recurrent(inputs)
    torch.testing.assert_close(module(inputs), module.classifier(last[-1]))


def test_rnn__a_series_is_read_along_its_last_axis():
    torch.manual_seed(0)
    series, sequence = RNN(3, (2, 9), hidden=6, steps="last"), RNN(3, (9, 2), hidden=6)
    sequence.load_state_dict(series.state_dict())
    inputs = torch.randn(7, 2, 9)
    torch.testing.assert_close(series(inputs), sequence(inputs.transpose(1, 2)))


def test_rnn__says_aloud_where_the_order_of_the_axes_is_in_doubt(caplog):
    RNN(3, (9, 2))
    RNN(3, (2, 9), steps="last")
    RNN(3, (2, 9), steps="first")
    RNN(3, (2, 4, 9))
    assert not caplog.messages
    RNN(3, (2, 9))
    assert caplog.messages == [
        "rnn reads (2, 9) as 2 steps of 9 features; steps=last reads series [channels, time], "
        "steps=first says that this is meant."
    ]


def test_rnn__every_parameter_gets_a_gradient():
    module = RNN(3, (4, 5), hidden=6)
    nn.functional.cross_entropy(module(torch.randn(9, 4, 5)), torch.arange(9) % 3).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((64,), {}, r"of rnn to be a sequence \[steps, features\] .*, but got \(64,\): .*mlp"),
        ((1, 2, 3, 4), {}, r"but got \(1, 2, 3, 4\)"),
        ((4, 5), {"cell": "rnn"}, "`cell` to be lstm or gru, but got rnn"),
        ((1, 96), {}, r"more than one step .*, but got \(1, 96\): steps=last reads series"),
        ((1, 8, 8), {"steps": "last"}, "`steps` to be null for an image, whose rows are the steps, but got last"),
        ((4, 5), {"steps": "middle"}, "`steps` to be first, last or null, but got middle"),
        ((4, 5), {"hidden": 0}, "`hidden` to be at least 1, but got 0"),
        ((4, 5), {"layers": 0}, "`layers` to be at least 1, but got 0"),
    ],
)
def test_rnn__says_what_is_wrong(shape, options, message):
    with pytest.raises(ValueError, match=message):
        RNN(10, shape, **options)
