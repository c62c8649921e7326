import pytest
import torch

from regard.training.machine import choose_device, choose_precision, has_fast_bfloat16


def test_auto_is_what_the_machine_has(monkeypatch):
    for available, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert choose_device("auto") == device
        assert choose_device("cpu") == "cpu"
    with pytest.raises(ValueError, match=r"finds no GPU here: --training\.device cpu"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"architecture": "arm64", "bf16": True}, True),
    ],
)
def test_auto_precision_follows_the_instructions(monkeypatch, capabilities, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_fast_bfloat16("cpu") is fast
    assert choose_precision("auto", "cpu") == ("bfloat16" if fast else "float32")
    assert choose_precision("float32", "cpu") == "float32"
    assert choose_precision("bfloat16", "cpu") == "bfloat16"
