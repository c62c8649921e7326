"""`regard doctor`: what this machine and this installation can do, and why something is absent."""

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

EXTRAS = {
    "tasks": [
        "lightning",
        "jsonargparse",
        "rich",
        "tokenizers",
        "sacrebleu",
        "sacremoses",
        "babel",
        "safetensors",
        "matplotlib",
        "scipy",
        "faster_coco_eval",
        "pycocoevalcap",
    ],
    "hub": ["huggingface_hub", "transformers"],
    "scale": ["pyarrow", "ray"],
}


def run(arguments: list[str]) -> int:
    """Print it."""
    argparse.ArgumentParser(
        prog="regard doctor", description="Say what this machine and this installation can do."
    ).parse_args(arguments)
    import torch

    from regard.attention import capabilities
    from regard.training.machine import choose_device, choose_precision

    device = choose_device("auto")
    lines = [
        ("regard", _version("regard")),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("processor", f"{_processor()}; torch uses {torch.backends.cpu.get_cpu_capability()}"),
        ("kernels", _kernels()),
        ("GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else f"none ({_no_gpu(torch)})"),
        ("training", f"{choose_precision('auto', device)} on {device}"),
    ]
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if find_spec(name) is None]
        found = ", ".join(f"{name} {_version(name)}" for name in packages if name not in missing)
        lines.append((f"regard[{extra}]", found or "nothing"))
        if missing:
            lines.append(("", f"absent: {', '.join(missing)}; for them: pip install 'regard[{extra}]'"))
    for name, text in lines:
        print(f"{name:<14} {text}")
    print("\nbackends of regard.attend, and what each can do:\n")
    print(capabilities.table())
    return 0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed as a package)"


def _kernels() -> str:
    from regard.ops import native

    if native.ABSENT:
        return f"none: {native.ABSENT}"
    others = [f"{name}{'' if able else ' (not this processor)'}" for name, able in native.instruction_sets().items()]
    return f"{native.in_use()}, of {', '.join(others)}; REGARD_ISA=NAME forces one, REGARD_NATIVE=off none"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or "unknown"


def _no_gpu(torch) -> str:
    return "torch was built without CUDA" if torch.version.cuda is None else "torch finds no CUDA device"
