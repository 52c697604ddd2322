import pytest
import torch
from torch import nn

from kd_lab import names
from kd_lab.measures.latency import latency


class Probe(nn.Module):
    def __init__(self):
        super().__init__()
        self.batches, self.threads, self.modes, self.grad = [], set(), set(), set()

    def forward(self, inputs):
        self.batches.append(len(inputs))
        self.threads.add(torch.get_num_threads())
        self.modes.add(self.training)
        self.grad.add(torch.is_inference_mode_enabled())
        return inputs


class Clock:
    """Each call to the network takes the next of the given durations; time stands still between them."""

    def __init__(self, seconds):
        self.seconds = iter(seconds)
        self.now = 0.0
        self.running = False

    def __call__(self):
        self.now += next(self.seconds) if self.running else 0.0
        self.running = not self.running
        return self.now


def test_latency__percentiles_and_throughput_by_hand():
    singles = [[0.001, 0.002, 0.003], [0.010, 0.020, 0.030], [0.002, 0.004, 0.006]]
    batches = [[0.01, 0.01, 0.01], [0.02, 0.02, 0.02], [0.03, 0.03, 0.03]]
    clock = Clock([s for part in singles + batches for s in part])
    found = latency(Probe(), torch.zeros(8, 2), device="cpu", warmup=0, runs=3, clock=clock)
    # The middle repetition: 2, 4, 6 ms; p95 lies 0.9 of the way from 4 to 6. 24 samples in 0.06 s.
    assert found == pytest.approx(
        {names.COST_LATENCY_MS_P50: 4.0, names.COST_LATENCY_MS_P95: 5.8, names.COST_THROUGHPUT: 400.0}
    )


def test_latency__warm_up_is_not_counted():
    slow, fast = [9.0, 9.0], [0.001]
    # Warm-up at batch 1, three timed runs, warm-up at the batch (one run spends the budget), three timed runs.
    clock = Clock(slow + fast * 3 + [9.0] + fast * 3)
    found = latency(Probe(), torch.zeros(4, 2), device="cpu", warmup=2, runs=1, clock=clock)
    assert found[names.COST_LATENCY_MS_P95] == pytest.approx(1.0)
    assert found[names.COST_THROUGHPUT] == pytest.approx(4000.0)


def test_latency__a_slow_network_is_timed_on_one_batch():
    module = Probe()
    latency(module, torch.zeros(7, 2), device="cpu", warmup=5, runs=50, clock=Clock([2.0] * 1000))
    assert module.batches.count(1) == 5 + 3 * 50
    assert module.batches.count(7) == 1 + 3


def test_latency__runs_in_eval_and_inference_mode_with_the_given_threads():
    module, before = Probe().train(), torch.get_num_threads()
    latency(module, torch.zeros(4, 2), device="cpu", threads=1, warmup=1, runs=2)
    assert (module.threads, module.modes, module.grad) == ({1}, {False}, {True})
    assert module.training
    assert torch.get_num_threads() == before


def test_latency__positive_with_the_real_clock():
    found = latency(nn.Linear(4, 2), torch.randn(4, 4), device="cpu", warmup=1, runs=5)
    assert 0 < found[names.COST_LATENCY_MS_P50] <= found[names.COST_LATENCY_MS_P95]
    assert found[names.COST_THROUGHPUT] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": 0}, "`runs` to be at least 1, but got 0"),
        ({"repetitions": -1}, "`repetitions` to be at least 1, but got -1"),
        ({"threads": 0}, "`threads` to be at least 1, but got 0"),
        ({"warmup": -1}, "`warmup` to be at least 0, but got -1"),
    ],
)
def test_latency__says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        latency(nn.Identity(), torch.zeros(4, 2), device="cpu", **options)


@pytest.mark.gpu
def test_latency__waits_for_cuda():
    # About 14e12 FLOPs per run: launching it takes microseconds, running it milliseconds.
    module = nn.Sequential(*[nn.Linear(8192, 8192, bias=False) for _ in range(20)])
    found = latency(module, torch.randn(1, 5000, 8192), device="cuda", warmup=2, runs=3, repetitions=1)
    assert found[names.COST_LATENCY_MS_P50] > 5.0
