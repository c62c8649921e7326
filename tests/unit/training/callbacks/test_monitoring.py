"""`AttentionMonitor` logs what the weights say, at the steps that it was told, and leaves nothing behind."""

import logging
import re
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

import regard
import regard.hub
from regard.training.callbacks.monitoring import AttentionMonitor

BATCH, HEADS, LENGTH, WIDTH = 2, 3, 11, 5

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*`training_step` returned `None`"),
    pytest.mark.filterwarnings("ignore:GPU available but not used"),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without what Lightning says about itself."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(level)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(HEADS * WIDTH, 3 * HEADS * WIDTH)

    def forward(self, hidden: Tensor) -> Tensor:
        parts = self.projection(hidden).unflatten(-1, (3, HEADS, WIDTH)).permute(2, 0, 3, 1, 4)
        context = regard.attend(*parts, mask=regard.Causal())
        return hidden + context.transpose(1, 2).flatten(2)


class Module(lightning.LightningModule):
    """Two layers of attention; `at_step(n)` is called in the n-th batch, and what it returns replaces the loss."""

    def __init__(self, at_step: Any = None, rate: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(Layer(), Layer())
        self.at_step, self.rate = at_step, rate
        self.batches = 0

    def training_step(self, batch: Tensor) -> Tensor | None:
        loss = self.layers(batch).square().mean()
        self.batches += 1
        if self.at_step is not None and self.at_step(self.batches - 1) == "skip":
            return None
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.rate)


class Written(Logger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int | None, dict[str, float]]] = []

    @property
    def name(self) -> str:
        return "written"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, *arguments: Any, **options: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.lines.append((step, dict(metrics)))


def data(batches: int = 7) -> DataLoader:
    numbers = torch.randn(batches * BATCH, LENGTH, HEADS * WIDTH, generator=torch.Generator().manual_seed(7))
    return DataLoader(numbers, batch_size=BATCH)


def trained(module: lightning.LightningModule, *callbacks: Any, loader: Any = None, **options: Any) -> Written:
    written = Written()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        log_every_n_steps=1,
        callbacks=list(callbacks),
        logger=written,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, train_dataloaders=data() if loader is None else loader)
    return written


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def test_numbers_are_those_of_the_weights():
    monitor = AttentionMonitor(every=100)
    module = Module(rate=0.0)
    (step, line), *rest = trained(module, monitor).lines
    assert (step, rest) == (0, [])
    batch = next(iter(data()))
    record = [regard.Weights(), regard.MaxScore()]
    with torch.no_grad(), regard.watch(module, *record) as seen:
        module.layers(batch)
    expected = {}
    for layer in ("layers.0", "layers.1"):
        weights = seen[layer].weights
        entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1).mean((0, 2))
        for name, heads in (("entropy", entropy), ("maxscore", seen[layer].maxscore.amax((0, 2)))):
            for which, number in (("min", heads.min()), ("mean", heads.mean()), ("max", heads.max())):
                expected[f"attention/{layer}/{name}/{which}"] = pytest.approx(float(number), rel=1e-5)
    assert line == expected
    assert monitor.latest == line


def test_by_hand():
    """Two keys alike and queries that see one and both: entropies 0 and ln 2; all scores are 2."""

    class Alike(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, ones: Tensor) -> Tensor:
            return regard.attend(self.scale * ones, ones, ones, mask=regard.Causal())

    module = Module()
    module.layers = Alike()
    monitor = AttentionMonitor()
    trained(module, monitor, loader=DataLoader(torch.ones(1, 1, 1, 2, 1), batch_size=None))
    assert monitor.latest["attention/layers/entropy/mean"] == pytest.approx(0.5 * 0.693147, rel=1e-5)
    assert monitor.latest["attention/layers/maxscore/max"] == pytest.approx(2.0)


def test_which_steps_are_watched():
    watched: list[int] = []
    module = Module(lambda n: watched.append(n) if hooks(module) else None)
    lines = trained(module, AttentionMonitor(regard.Entropy(), every=3)).lines
    assert [step for step, _ in lines] == [0, 3, 6] == watched
    assert hooks(module) == 0
    watched.clear()
    module = Module(lambda n: watched.append(n) if hooks(module) else None)
    lines = trained(module, AttentionMonitor(regard.Entropy(), every=2), accumulate_grad_batches=2).lines
    assert [step for step, _ in lines] == [0, 2]
    assert watched == [0, 4]


def test_training_stays_the_same():
    plain, monitored = Module(), Module()
    trained(plain)
    trained(monitored, AttentionMonitor(every=2))
    for left, right in zip(plain.parameters(), monitored.parameters(), strict=True):
        torch.testing.assert_close(left, right)


def test_layers_and_observations_of_ones_own():
    monitor = AttentionMonitor(regard.Mass([0]), regard.Distance(), layers="*.1")
    line = trained(Module(), monitor).lines[0][1]
    assert set(line) == {
        f"attention/layers.1/{name}/{which}" for name in ("mass", "distance") for which in ("min", "mean", "max")
    }


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_nothing_is_left_when_a_step_raises(error):
    def halt(n: int) -> None:
        raise error("halt")

    module = Module(halt)
    with pytest.raises(error, match="halt"):
        trained(module, AttentionMonitor())
    assert hooks(module) == 0
    with regard.watch(module, regard.Entropy()) as seen:
        module.layers(next(iter(data())))
    assert list(seen) == ["layers.0", "layers.1"]


def test_a_step_without_a_loss_is_left_too():
    module = Module(lambda n: "skip" if n == 0 else None)
    assert trained(module, AttentionMonitor()).lines == []
    assert hooks(module) == 0


def test_a_model_of_transformers():
    class Language(Module):
        def __init__(self) -> None:
            super().__init__()
            config = LlamaConfig(
                vocab_size=31,
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=1,
            )
            self.layers = LlamaForCausalLM(config)

        def training_step(self, batch: Tensor) -> Tensor:
            return self.layers(batch, labels=batch).loss

    loader = DataLoader(torch.randint(31, (4, 9)), batch_size=2)
    module = Language()
    regard.hub.adopt(module.layers)
    line = trained(module, AttentionMonitor(), loader=loader).lines[0][1]
    assert 0 < line["attention/layers.model.layers.0.self_attn/entropy/mean"] < 2.2  # ln 9
    module = Language()
    text = "none of the model's is Regard's. A model of transformers is switched by regard.hub.adopt(model)"
    with pytest.raises(ValueError, match=re.escape(text)):
        trained(module, AttentionMonitor(), loader=loader)
    assert hooks(module) == 0


@pytest.mark.usefixtures("unchecked")
def test_what_has_no_number_for_each_query_is_refused():
    for wrong in (regard.Received(), regard.Weights(), regard.TopK(3), regard.Pooled(2, 2), "entropy"):
        with pytest.raises(TypeError, match=r"a number for each query, such as regard.Entropy\(\)"):
            AttentionMonitor(wrong)
    with pytest.raises(ValueError, match="got every=0"):
        AttentionMonitor(every=0)
