"""Vision models of transformers as visual encoders."""

from pathlib import Path

import pytest
import torch
import transformers as hf

from regard.attention import TopK, watch
from regard.hub.backbone import build_backbone, load_backbone, save_backbone
from regard.training.weights import assign_tensors, unique_tensors


def saved(kind: str, folder: Path) -> Path:
    torch.manual_seed(0)
    if kind == "resnet":
        config = hf.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], layer_type="basic"
        )
        hf.ResNetModel(config).save_pretrained(folder)
    elif kind == "swin":
        config = hf.SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=2, image_size=64)
        hf.SwinModel(config).save_pretrained(folder)
    else:
        config = hf.Dinov2Config(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=3, patch_size=14, image_size=56
        )
        hf.Dinov2Model(config).save_pretrained(folder)
    hf.ViTImageProcessor(image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["resnet", "swin", "dinov2"])
def folder(request, tmp_path_factory) -> Path:
    return saved(request.param, tmp_path_factory.mktemp(request.param))


def pictures(*size: int) -> torch.Tensor:
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(2)).byte()


def test_it_is_a_visual_encoder(folder):
    backbone = load_backbone(str(folder)).eval()
    assert len(backbone.dims) == len(backbone.strides) == 4
    given = pictures(2, 3, 64, 96)
    maps = backbone(given)
    for one, dim, stride in zip(maps, backbone.dims, backbone.strides, strict=True):
        assert one.shape[:2] == (2, dim)
        assert abs(one.shape[2] - 64 / stride) <= 1
        assert abs(one.shape[3] - 96 / stride) <= 1
    normal = backbone.normalise(given)
    expected = (given.double() / 255 - torch.tensor([0.5, 0.4, 0.3]).view(-1, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(-1, 1, 1)
    torch.testing.assert_close(normal.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_run_needs_no_hub_again(folder, tmp_path):
    backbone = load_backbone(str(folder)).eval()
    save_backbone(backbone, tmp_path / "pretrained")
    torch.manual_seed(5)
    again = build_backbone(tmp_path / "pretrained").eval()
    given = pictures(1, 3, 64, 64)
    assert not torch.allclose(again(given)[-1], backbone(given)[-1])
    assign_tensors(again, unique_tensors(backbone), "the test")
    for one, other in zip(again(given), backbone(given), strict=True):
        assert torch.equal(one, other)


def test_a_vision_transformer_runs_on_regards_attention(tmp_path):
    backbone = load_backbone(str(saved("dinov2", tmp_path))).eval()
    with watch(backbone, TopK(1)) as seen:
        backbone(pictures(1, 3, 60, 60))
    assert len(seen) == 2
    assert all(one.topk.keys.shape[2] == 26 for one in seen.values()), "5 x 5 patches and a class token"


def test_what_is_no_backbone_is_named(tmp_path):
    hf.BertModel(
        hf.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is no visual encoder"):
        load_backbone(str(tmp_path))
