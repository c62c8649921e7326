"""A folder for a hub: the run without what only training needs, and a model card filled from the run."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from regard import __version__
from regard.training.run import RunDirectory

# What predict, look and serve read; the others are training's.
_FILES = ("weights.safetensors", "tokenizer.json", "labels.json", "language.json")
_FOLDERS = ("pretrained",)
_TAGS = {
    "translation": "translation",
    "summarization": "summarization",
    "sentiment": "text-classification",
    "segmentation": "image-segmentation",
    "detection": "object-detection",
    "captioning": "image-to-text",
    "speech": "automatic-speech-recognition",
}
_INPUTS = {"segmentation": "street.jpg", "detection": "street.jpg", "captioning": "street.jpg", "speech": "call.wav"}


def to_hub(run: RunDirectory, folder: Path) -> None:
    """Write a folder that a hub takes, and that `regard predict FOLDER` runs.

    The card says what the run knows: the data's name and splits, the recipe, the metrics with their signatures (those
    that `regard evaluate` found, and those of validation), the attention of the model, time, precision and device. Of
    the place of the data stays its last name.

    Raises:
        ValueError: the folder exists and is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} exists and is not empty: choose another, for example {folder}-2")
    folder.mkdir(parents=True, exist_ok=True)
    config = run.read_config()
    config["data"] = Path(config["data"]).name
    head = yaml.safe_load(run.config_path.read_text(encoding="utf-8"))
    text = yaml.safe_dump({"regard": head["regard"], "version": head["version"], **config}, sort_keys=False)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    for name in _FILES:
        if (run.path / name).exists():
            shutil.copy(run.path / name, folder / name)
    for name in _FOLDERS:
        if (run.path / name).is_dir():
            shutil.copytree(run.path / name, folder / name)
    (folder / "README.md").write_text(card(run, config, folder.name), encoding="utf-8")


def card(run: RunDirectory, config: dict[str, Any], name: str) -> str:
    """The model card, in Markdown with a head of YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    task = str(config["task"])
    evaluations = run.read_evaluations()
    results = [
        EvalResult(
            task_type=_TAGS[task],
            dataset_type=config["data"],
            dataset_name=f"{config['data']} ({split})",
            metric_type=score["name"].lower(),
            metric_name=score["name"],
            metric_value=round(score["value"], 4),
        )
        for split, scores in evaluations.items()
        for score in scores
    ]
    head = ModelCardData(
        library_name="regard",
        pipeline_tag=_TAGS[task],
        tags=["regard", "attention", task],
        model_name=name,
        eval_results=results or None,
    )
    given = _INPUTS.get(task, '"a text"')
    parts = [
        f"---\n{head.to_yaml()}\n---\n",
        f"# {name}\n\nA model for {task}, trained by Regard {__version__}.\n",
        f"## Use\n\n```\npip install 'regard[tasks]'\nregard predict {name} {given}\n"
        f"regard look {name} {given} -o attention.html\nregard serve {name}\n```\n",
        _metrics(run, evaluations),
        _training(run, config),
        f"## Attention and model\n\n{_table(config.get('model', {}))}\n",
        f"## Recipe\n\n```yaml\n{yaml.safe_dump(config, sort_keys=False, allow_unicode=True)}```\n",
    ]
    return "\n".join(parts)


def _metrics(run: RunDirectory, evaluations: dict[str, list[dict[str, Any]]]) -> str:
    rows = [
        f"| {split} | {score['name']} | {score['value']:.2f} | {_how(score)} |"
        for split, scores in evaluations.items()
        for score in scores
    ]
    final = _final(run)
    rows += [f"| validation | {name} | {value:.4g} | in training |" for name, value in final.get("metrics", {}).items()]
    if not rows:
        return "## Metrics\n\nNone were measured: `regard evaluate` does.\n"
    return "\n".join(["## Metrics\n", "| data | metric | value | how |", "|---|---|---|---|", *rows, ""])


def _how(score: dict[str, Any]) -> str:
    """By which signature a score was found, and by which search."""
    return ", ".join(f"`{score[key]}`" for key in ("signature", "search") if score.get(key))


def _training(run: RunDirectory, config: dict[str, Any]) -> str:
    """Data, time, and on what."""
    final, files = _final(run), config.get("files", {})
    lines = [f"- data: `{config['data']}`, {', '.join(f'{key} {value}' for key, value in files.items() if value)}"]
    if final:
        lines.append(f"- {final['epoch']} epochs, {final['step']:,} steps, {final['seconds'] / 60:.0f} minutes")
    for line in run.log_path.read_text(encoding="utf-8").splitlines() if run.log_path.exists() else ():
        if "training from step 0: " in line:
            lines.append(f"- {line.split('training from step 0: ', 1)[1]}")
    if config.get("start"):
        lines.append(f"- began with `{config['start']}`")
    return "\n".join(["## Training\n", *lines, ""])


def _table(values: dict[str, Any]) -> str:
    rows = [f"| {name} | {json.dumps(value)} |" for name, value in values.items()]
    return "\n".join(["| option | value |", "|---|---|", *rows])


def _final(run: RunDirectory) -> dict[str, Any]:
    """The last line of the run's metrics, if it came to its end."""
    rows = run.read_metrics()
    return rows[-1] if rows and rows[-1].get("kind") == "final" else {}
