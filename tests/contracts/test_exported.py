"""Models of every kind as programs of torch.export and of ONNX; exported.py holds these tests."""

from collections.abc import Callable
from pathlib import Path

from tests.contracts.apart import run_apart


def test_models_as_programs(record_property: Callable[[str, object], None]) -> None:
    run_apart(Path(__file__).with_name("exported.py"), "models as programs", record_property)
