"""Programs give what the model gives that they came from; test_exported.py runs this file in a process of its own."""

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from regard.decoding import Beam, Greedy, search
from regard.export.checking import check_programs, drawn
from regard.export.eight_bits import to_eight_bits
from regard.export.parts import Part, parts_of
from regard.export.programs import to_programs
from regard.models.captioner import ShowAttendTell
from regard.models.classifier import Classifier
from regard.models.detector import Detector
from regard.models.pointer import PointerTransformer
from regard.models.recognizer import Listening, Recognizer
from regard.models.recurrent import RecurrentEncoder, RecurrentSeq2Seq
from regard.models.segmenter import Segmenter
from regard.models.transformer import Layers, Transformer
from regard.models.vision import Patches, Pyramid, VisionTransformer, VisualEncoder
from regard.nn.log_mel import LogMel
from regard.training.programs import Exported

pytestmark = [  # torch's own, of its tracer and its exporter
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
DOCS = Path(__file__).parents[2] / "docs"
RECIPE = SimpleNamespace(crop=[64, 96], size=[48, 64], bands=24, front=LogMel(8000, 24))
WORDS = 31
Layer = partial(Layers, dim=16, heads=2, feed_forward=24, layers=1)


def sees(*, axial: int = 1) -> VisualEncoder:
    attends = ("none", "axial", "global", "none")
    return VisualEncoder(
        Pyramid(dims=(16,) * 4, convolutions=(1, 0, 0, 0), attention=(0, axial, 1, 0), attends=attends, head_dim=8)
    )


def hears(kind: str = "conformer") -> Listening:
    return Listening(bands=24, of_block=Layer(), kind=kind, kernel=5, channels=4)


def translates() -> Transformer:
    return Transformer(WORDS, WORDS, encoder=Layer(layers=2), decoder=Layer(layers=2))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "grouped, rotary, learned, post-norm": lambda: Transformer(
        WORDS,
        WORDS,
        encoder=Layer(positions="rotary", kv_heads=1, norm="post", window=3),
        decoder=Layer(positions="learned", longest=40, kv_heads=1, norm="post"),
    ),
    "pointer": lambda: PointerTransformer(WORDS, encoder=Layer(), decoder=Layer()),
    "without attention": lambda: RecurrentSeq2Seq(WORDS, WORDS, dim=16, hidden=16, attention="none"),
    "recurrent classifier": lambda: Classifier(
        RecurrentEncoder(WORDS, 16, 16, layers=2, dropout=0.0, starts=False), 16, 3
    ),
    "segmenter": lambda: Segmenter(sees(axial=0), 4, dim=16, layers=1),
    "segmenter of patches": lambda: Segmenter(
        VisionTransformer(Patches(dim=16, layers=1, heads=2, feed_forward=24)), 4, dim=16, layers=1
    ),
    "detector": lambda: Detector(sees(), 4, dim=16, layers=2, heads=2, queries=7),
    "Show, Attend and Tell": lambda: ShowAttendTell(sees(), WORDS, dim=16, hidden=16),
    "Conformer": lambda: Recognizer(WORDS, hears(), Layer()),
    "Listen, Attend and Spell": lambda: Recognizer(WORDS, hears("recurrent"), Layer()),
}
# ONNX's exporter takes three times as long as torch's tracer, whose graphs it takes: a scan.
ON_ONNX = ("recurrent classifier",)
FORMS = [*(("torch", name) for name in MODELS if name not in ON_ONNX), *(("onnx", name) for name in ON_ONNX)]


def model(make: Callable[[], nn.Module]) -> nn.Module:
    """Random weights that are large enough to decide."""
    torch.manual_seed(3)
    made = make().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.5) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def write(one: nn.Module, folder: Path, form: str) -> list[Part]:
    run = SimpleNamespace(path=folder.parent, read_config=lambda: {"task": "translation"})
    return to_programs(SimpleNamespace(model=one, recipe=RECIPE), run, folder, form)


@pytest.mark.parametrize(("form", "name"), FORMS)
def test_they_give_the_same(tmp_path: Path, form: str, name: str) -> None:
    one = model(MODELS[name])
    parts = write(one, tmp_path / "programs", form)
    said = check_programs(one, parts, tmp_path / "programs")
    outputs = r"; 9 of 9 outputs are the same" if len(parts) == 2 else ""
    assert re.fullmatch(rf"what it gives for random inputs is the model's within \de-0[5-9]{outputs}", said), said


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path, list[Part]]:
    one, folder = model(translates), tmp_path_factory.mktemp("translator") / "programs"
    return one, folder, write(one, folder, "onnx")


def test_a_translator_gives_the_same(translator: tuple[nn.Module, Path, list[Part]]) -> None:
    one, folder, parts = translator
    assert check_programs(one, parts, folder).endswith("; 9 of 9 outputs are the same")


def test_beams_and_their_scores_are_the_same(translator: tuple[nn.Module, Path, list[Part]]) -> None:
    one, folder, parts = translator
    inputs = drawn(parts[0], torch.Generator().manual_seed(5))
    options = Beam(width=4, n_best=3, max_length=12)
    ours, theirs = (search(any_model, *inputs.values(), options) for any_model in (one, Exported(folder)))
    for own, other in zip(ours, theirs, strict=True):
        assert [found.tokens for found in own] == [found.tokens for found in other]
        for found, same in zip(own, other, strict=True):
            assert same.score == pytest.approx(found.score, abs=1e-4)


def test_in_eight_bits_it_is_smaller_and_near(translator: tuple[nn.Module, Path, list[Part]], tmp_path: Path) -> None:
    one, folder, parts = translator
    smaller = Path(shutil.copytree(folder, tmp_path / "smaller"))
    for part in parts:
        path = smaller / f"{part.name}.onnx"
        to_eight_bits(path)
        assert path.stat().st_size < (folder / path.name).stat().st_size
    said = check_programs(one, parts, smaller, "int8")
    assert re.match(r"half of what it gives for random inputs is the model's within (0\.0\d+|\de-\d+); \d of 9 ", said)


def test_what_the_documents_show_writes_the_same(translator: tuple[nn.Module, Path, list[Part]]) -> None:
    """With ONNX Runtime and numpy alone."""
    one, folder, _ = translator
    [code] = re.findall(r"```text\n(import json.*?)```", (DOCS / "exporting.md").read_text(encoding="utf-8"), re.DOTALL)
    for source in ([5, 9, 13, 3], [7, 3], [21, 30, 4, 4, 11, 3]):
        names: dict[str, object] = {"folder": str(folder), "tokens": source}
        exec(code, names)
        expected = search(one, torch.tensor([source]), torch.tensor([len(source)]), Greedy(max_length=100))
        assert names["output"] == list(expected[0][0].tokens)


def test_the_signature_says_what_a_caller_has_to_know(translator: tuple[nn.Module, Path, list[Part]]) -> None:
    signature = json.loads((translator[1] / "signature.json").read_text(encoding="utf-8"))
    assert signature["tokens"] == {"padding": 0, "start": 2, "end": 3, "unknown": 1}
    encoder, decoder = signature["programs"]["encoder"], signature["programs"]["decoder"]
    assert encoder["inputs"][0] == {"name": "source", "type": "int64", "shape": ["rows", "source"]}
    assert encoder["outputs"] == ["memory", "past"]
    assert decoder["inputs"][-1] == {"name": "past", "type": "float32", "shape": ["rows", 2, 2, 2, "written", 8]}
    assert decoder["outputs"] == ["logits", "new_past"]


def test_programs_of_other_weights_are_told(translator: tuple[nn.Module, Path, list[Part]]) -> None:
    _, folder, _ = translator
    other = model(translates)
    with torch.no_grad():
        other.get_submodule("decoder").layers[0].cross.key_value.weight.neg_()
    with pytest.raises(ValueError, match=r"memory of .*: \d+\.\d% of the numbers are not those of the model"):
        check_programs(other, parts_of(other, RECIPE), folder)


def test_a_model_of_another_library() -> None:
    with pytest.raises(ValueError, match="Linear is a pretrained model of another library, whose own exporters"):
        parts_of(nn.Linear(2, 2), RECIPE)
