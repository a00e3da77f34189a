"""The loop that generators train by: it goes on where it was killed with the same bits, and says why it stops."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.api import Context, ImageSet, NotComputable
from harness_plugins.generators import training
from harness_plugins.generators.ddpm import Ddpm
from harness_plugins.generators.training import Ema, Losses, Precision, Spent, repeatable, set_rate, train

STEPS = 6
Weights = dict[str, torch.Tensor]


class Killed(Exception):
    """Stands for the end of the process."""


def killer(at: int) -> Callable[[int, int], None]:
    """Return the listener to progress that ends the call at a step."""

    def report(done: int, total: int) -> None:
        if done >= at:
            raise Killed

    return report


def fitted(context: Context, name: str = "network", earlier: Spent | None = None, steps: int = STEPS) -> tuple[Weights, Spent]:
    """Return weights, averaged weights and what was spent by a small regression with random batches."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    optimiser, ema, precision = torch.optim.AdamW(module.parameters(), lr=1e-2), Ema(module, 0.9), Precision(context, mixed=True)

    def step(k: int, rng: np.random.Generator) -> Losses:
        inputs = torch.as_tensor(rng.standard_normal((4, 3)), dtype=torch.float32) + 0.1 * torch.randn(4, 3)
        set_rate(optimiser, 1e-2, k, steps)
        with precision.autocast():
            loss = (module(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()
        precision.descend(loss, optimiser)
        ema.update()
        return {"loss": loss, "loss_of_two": 2.0}

    spent = train(
        {"network": module}, {"network": optimiser}, step, steps, context, configuration="a", batch_size=4,
        others={"ema": ema, "precision": precision}, name=name, earlier=earlier,
    )  # fmt: skip
    return {**module.state_dict(), **{f"ema.{key}": value for key, value in ema.weights.items()}}, spent


def run(folder: Path, report: Callable[[int, int], None] = lambda done, total: None) -> tuple[Weights, Context]:
    """Return the weights and the context of one fit of two trainings whose checkpoints lie in the folder."""
    folder.mkdir(exist_ok=True)
    context = Context(seed=3, workdir=folder, checkpoints=folder, report=report)
    with repeatable(context, 1):
        first, spent = fitted(context, "first")
        second, _ = fitted(context, "second", spent)
    return {**first, **{f"second.{name}": value for name, value in second.items()}}, context


def losses(context: Context) -> list[tuple[str, int, float]]:
    """Return the curve without the seconds."""
    return [point for point in context.curve if point[0] != "seconds"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, Context]:
    """Return the weights and the context of a fit that nothing disturbed."""
    return run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a checkpoint after every step."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)


@pytest.mark.usefixtures("_eager")
@pytest.mark.parametrize("at", [1, 4, STEPS, STEPS + 2, 2 * STEPS])
def test_killed_training_ends_with_the_same_bits(whole: tuple[Weights, Context], tmp_path: Path, at: int) -> None:
    """Wherever it was killed, between two trainings too, weights, averages and losses are those of an undisturbed training."""
    with pytest.raises(Killed):
        run(tmp_path, killer(at))
    again, context = run(tmp_path)
    assert all(torch.equal(again[name], value) for name, value in whole[0].items())
    assert losses(context) == losses(whole[1])


def test_sparse_checkpoints_lose_only_steps(whole: tuple[Weights, Context], tmp_path: Path) -> None:
    """With checkpoints every 30 s there is one after the first step, from which a killed training ends with the same bits."""
    with pytest.raises(Killed):
        run(tmp_path, killer(4))
    content = torch.load(tmp_path / "first.pt", weights_only=True)
    assert content["state"]["step"] == 1
    again, context = run(tmp_path)
    assert all(torch.equal(again[name], value) for name, value in whole[0].items())
    assert losses(context) == losses(whole[1])


@pytest.mark.usefixtures("_eager")
def test_goes_on_instead_of_beginning_again(tmp_path: Path) -> None:
    """The call after the kill does the steps that are left, and its seconds continue those of the first."""
    with pytest.raises(Killed):
        run(tmp_path, killer(4))
    before = torch.load(tmp_path / "first.pt", weights_only=True)["state"]["seconds"]
    done: list[int] = []
    _, context = run(tmp_path, lambda step, total: done.append(step))
    assert done == list(range(5, 2 * STEPS + 1))
    seconds = [value for series, _, value in context.curve if series == "seconds"]
    assert len(seconds) == 2 * STEPS
    assert seconds == sorted(seconds)
    assert seconds[4] >= before
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.usefixtures("_eager")
@pytest.mark.parametrize("damage", ["torn", "empty", "rubbish", "configuration"])
def test_checkpoint_that_does_not_fit_is_ignored(whole: tuple[Weights, Context], tmp_path: Path, damage: str) -> None:
    """A torn file, rubbish, or the checkpoint of another configuration: training begins anew and ends as ever."""
    with pytest.raises(Killed):
        run(tmp_path, killer(4))
    path = tmp_path / "first.pt"
    content = path.read_bytes()
    if damage == "configuration":
        loaded = torch.load(path, weights_only=True)
        torch.save({**loaded, "configuration": "b"}, path)
    else:
        path.write_bytes({"torn": content[: len(content) // 2], "empty": b"", "rubbish": b"nonsense"}[damage])
    done: list[int] = []
    again, _ = run(tmp_path, lambda step, total: done.append(step))
    assert done[0] == 1
    assert all(torch.equal(again[name], value) for name, value in whole[0].items())


def test_seed_decides(tmp_path: Path) -> None:
    """The same seed gives the same weights without any checkpoint, another one others."""
    made = []
    for seed in (3, 3, 4):
        context = Context(seed=seed, workdir=tmp_path)
        with repeatable(context, 1):
            made.append(fitted(context)[0])
    assert all(torch.equal(made[0][name], value) for name, value in made[1].items())
    assert not torch.equal(made[0]["0.weight"], made[2]["0.weight"])


def test_curve_has_about_fifty_points(tmp_path: Path) -> None:
    """Each point holds means since the one before, the last is at the last step, and progress is told as often."""
    done: list[tuple[int, int]] = []
    context = Context(seed=1, workdir=tmp_path, report=lambda *so_far: done.append(so_far))
    with repeatable(context, 1):
        fitted(context, steps=130)
    points = [(step, value) for series, step, value in context.curve if series == "loss"]
    assert [step for step, _ in points] == [*range(3, 130, 3), 130]
    assert points[-1][1] < points[0][1]
    assert {value for series, _, value in context.curve if series == "loss_of_two"} == {2.0}
    assert done == [(step, 130) for step, _ in points]


def test_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    """The reason names the step and what to lower; no checkpoint holds the state."""
    context = Context(seed=1, workdir=tmp_path, checkpoints=tmp_path)
    with pytest.raises(NotComputable, match="the training loss is no longer finite after 7 steps: lower learning_rate"):
        train({}, {}, lambda k, rng: {"loss": math.nan if k == 6 else 1.0}, 10, context, configuration="a", batch_size=2)
    assert torch.load(tmp_path / "network.pt", weights_only=True)["state"]["step"] == 1


def test_lack_of_memory_says_what_to_lower(tmp_path: Path) -> None:
    """A device without enough memory gives a reason that names the batch size and the device."""

    def step(k: int, rng: np.random.Generator) -> Losses:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(NotComputable, match="a batch of 12 images does not fit into the memory of cpu: lower batch_size"):
        train({}, {}, step, 10, Context(seed=1, workdir=tmp_path), configuration="a", batch_size=12)


def test_average_forgets_early_weights() -> None:
    """The decay is 1/10 at first, then 2/11, and never above its limit; 0 keeps the last weights; the state comes back."""
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, 0.0)
    averages = {decay: Ema(module, decay) for decay in (0.999, 0.15, 0.0)}
    torch.nn.init.constant_(module.weight, 1.0)
    for _ in range(2):
        for average in averages.values():
            average.update()
    found = {decay: average.weights["weight"].item() for decay, average in averages.items()}
    assert found == pytest.approx({0.999: 1 - 0.1 * 2 / 11, 0.15: 1 - 0.1 * 0.15, 0.0: 1.0})
    other = Ema(module, 0.999)
    other.load_state_dict(averages[0.999].state_dict())
    torch.nn.init.constant_(module.weight, 5.0)
    for average in (other, averages[0.999]):
        average.update()
    assert torch.equal(other.weights["weight"], averages[0.999].weights["weight"])


def test_average_copies_counters() -> None:
    """Whole numbers in a state, such as those of a batch normalisation, are not averaged."""
    module = torch.nn.BatchNorm1d(2)
    average = Ema(module, 0.9)
    module(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
    average.update()
    assert average.weights["num_batches_tracked"].item() == 1


def test_rate_rises_and_falls() -> None:
    """It reaches its peak after 5 % of the steps and nearly 0 at the end; a training of one step has the peak."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0)
    rates = []
    for k in range(100):
        set_rate(optimiser, 2.0, k, 100)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates[4] == rates[5] == max(rates) == 2.0
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 1e-2
    set_rate(optimiser, 2.0, 0, 1)
    assert optimiser.param_groups[0]["lr"] == 2.0


def test_gradients_are_clipped(tmp_path: Path) -> None:
    """A step of plain gradient descent is never longer than the rate times the largest norm."""
    weight = torch.zeros(1, requires_grad=True)
    Precision(Context(seed=0, workdir=tmp_path), mixed=True).descend((1e6 * weight).sum(), torch.optim.SGD([weight], lr=0.5))
    assert weight.item() == pytest.approx(-0.5)


def test_threads_are_those_asked_for(tmp_path: Path) -> None:
    """Inside, torch has the number asked for; afterwards the one that it had."""
    before = torch.get_num_threads()
    with repeatable(Context(seed=0, workdir=tmp_path), 3):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_configuration_is_all_that_decides(tmp_path: Path, picture_set: Callable[..., ImageSet]) -> None:
    """Options, images and seed change it; the folders do not."""
    images, context = picture_set(), Context(seed=1, workdir=tmp_path)
    known = Ddpm().configuration(images, context)
    assert Ddpm().configuration(images, Context(seed=1, workdir=tmp_path / "other")) == known
    others = [
        Ddpm(steps=7).configuration(images, context),
        Ddpm().configuration(picture_set(seed=1), context),
        Ddpm().configuration(images, Context(seed=2, workdir=tmp_path)),
    ]
    assert len({known, *others}) == 4
