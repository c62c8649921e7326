import subprocess
import sys

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
        ({"avx512_bf16": True, "amx_bf16": False}, False),
        ({"avx512_bf16": True, "amx_bf16": True}, True),
        ({"architecture": "arm64", "bf16": True}, True),
    ],
)
def test_auto_precision_follows_the_instructions(monkeypatch, capabilities, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_fast_bfloat16("cpu") is fast
    assert choose_precision("auto", "cpu") == ("bfloat16" if fast else "float32")
    assert choose_precision("float32", "cpu") == "float32"
    assert choose_precision("bfloat16", "cpu") == "bfloat16"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults are counted on Linux")
def test_kept_memory_is_used_again():
    """Blocks that change size from step to step, as batches do: after the first steps no page is new."""
    script = """
import resource, sys, torch
from regard.training.machine import keep_memory
kept = keep_memory() if sys.argv[1] == "kept" else None
def step():
    first = [torch.ones(3_000_000) for _ in range(3)]
    del first
    return [torch.ones(7_000_000) for _ in range(3)]
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, kept)
"""
    faults = {}
    for how in ("kept", "given back"):
        done = subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, check=True)
        faults[how], kept = done.stdout.split()
        if kept == "False":
            pytest.skip("another C library")
    assert 10 * int(faults["kept"]) < int(faults["given back"])
