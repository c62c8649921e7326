"""`streamed` and `linear` hold O(n): less than one matrix of weights, forward and backward, in a fresh process."""

import json
import subprocess
import sys

import pytest

LENGTH = 4096
MATRIX = LENGTH**2 * 4 / 2**20  # MB of one matrix of weights in float32

CODE = """
import json
from pathlib import Path

import torch
import regard
from regard.attention.backends import streamed

def held(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024

def run(length, options, record):
    tensors = [torch.randn(1, 1, length, 16, requires_grad=True) for _ in range(3)]
    if record:
        what = [regard.TopK(4), regard.Entropy(), regard.Received()]
        context, seen = regard.observe(*tensors, record=what, **options)
        (context.sum() + seen.entropy.sum()).backward()
    else:
        regard.attend(*tensors, **options).sum().backward()

calls = {
    "entmax15, observed": ({"normalize": regard.Entmax15()}, True),
    "causal alibi": (
        {"score": regard.ScaledDot() + regard.Alibi(1), "mask": regard.Causal(), "backend": "streamed"}, False
    ),
    "linear": ({"score": regard.Kernel(), "normalize": regard.Sum(), "mask": regard.Causal()}, False),
}
torch.set_num_threads(1)
streamed.BLOCK["cpu"], streamed.KEPT = 2**18, 0  # so that the small call before runs the same code
found = {}
for name, (options, record) in calls.items():
    run(64, options, record)
    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    run(LENGTH, options, record)
    found[name] = held("VmHWM") - before
print(json.dumps(found))
"""


@pytest.mark.requires("linux")
def test_no_matrix_is_ever_held() -> None:
    code = CODE.replace("LENGTH", str(LENGTH))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name, megabytes in json.loads(done.stdout).items():
        assert megabytes < MATRIX, f"{name} held {megabytes:.0f} MB, and a matrix is {MATRIX:.0f} MB"
