"""Masked-image pretraining: nothing hidden leaks, the loss is SimMIM's, an encoder moves from network to network."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.models import registry
from mien.models.masked_image import MaskedImageModel, load_encoder, spread
from mien.models.vit_hybrid_se import ViTHybridSE
from mien.training.recipe import load_recipe

SWIN: dict[str, Any] = {
    "embed_dim": 16,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "window_size": 4,
    "drop_path": 0.0,
    "patch_size": 4,
}
VIT: dict[str, Any] = {
    "stem_widths": (8, 16, 24),
    "width": 32,
    "depth": 2,
    "num_heads": 4,
    "mlp_width": 64,
    "drop_path": 0.0,
}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "swin_t": ("swin_t", SWIN),
    "swin_t_se-head": ("swin_t_se", SWIN | {"se_position": "head"}),
    "swin_t_se-stem": ("swin_t_se", SWIN | {"se_position": "stem", "reduction": 2}),
    "vit_hybrid_se": ("vit_hybrid_se", VIT),
}


def encoder(key: str, *, image_size: int = 48, **changes: Any) -> nn.Module:
    name, args = ENCODERS[key]
    return registry.build(name, args | changes, image_size=image_size)


def model(key: str = "swin_t", *, patch: int = 8) -> MaskedImageModel:
    return MaskedImageModel(encoder(key), in_channels=3, patch=patch)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def reaches(masked: MaskedImageModel, *, hidden: bool) -> bool:
    """Whether a change of all hidden (or of all visible) pixels changes a single bit of the reconstruction."""
    images, other = torch.randn(2, 4, 3, 48, 48)
    mask = masked.draw_mask(4, generator())
    changed = torch.where(spread(mask, 48)[:, None] == hidden, other, images)
    with torch.no_grad():
        return not torch.equal(masked(images, mask), masked(changed, mask))


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("key", ENCODERS)
def test_hidden_pixels_do_not_leak(key: str, training: bool) -> None:
    masked = model(key).train(training)
    assert not reaches(masked, hidden=True)
    assert reaches(masked, hidden=False)  # negative control: visible ones do count


class Leaky(ViTHybridSE):
    """Replaces tokens after the stem but forgets to blank the pixels before it."""

    def masked_features(self, images: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
        tokens = self.embed(images)
        tokens = torch.where(spread(mask, 6).flatten(1)[..., None], mask_token, tokens)
        return self.encode(tokens)[:, 1:].transpose(1, 2).unflatten(2, (6, 6))


def test_the_leak_test_sees_a_leak() -> None:
    leaky = Leaky(num_classes=7, in_channels=3, image_size=48, reduction=16, dropout=0, **VIT)
    assert reaches(MaskedImageModel(leaky, in_channels=3, patch=8).eval(), hidden=True)


@pytest.mark.parametrize("key", ENCODERS)
def test_the_mask_token_stands_where_the_mask_is(key: str) -> None:
    """All hidden: the picture does not matter, the token does. Nothing hidden: the token does not matter."""
    masked = model(key).eval()
    images, other = torch.randn(2, 1, 3, 48, 48)
    everything, nothing = torch.ones(1, 6, 6, dtype=torch.bool), torch.zeros(1, 6, 6, dtype=torch.bool)
    with torch.no_grad():
        covered, open_ = masked(images, everything), masked(images, nothing)
        assert torch.equal(covered, masked(other, everything))
        masked.mask_token.add_(1 + torch.rand_like(masked.mask_token))
        assert not torch.allclose(covered, masked(images, everything), atol=1e-4)
        assert torch.equal(open_, masked(images, nothing))


@pytest.mark.parametrize("key", ENCODERS)
def test_with_nothing_hidden_the_features_are_the_classifiers(key: str) -> None:
    """The head on top of masked_features gives the network's logits, so pretraining trains what is used later."""
    network: Any = encoder(key).eval()
    x = torch.randn(2, 3, 48, 48)
    nothing = torch.zeros(2, 6, 6, dtype=torch.bool)
    token = torch.zeros(network.embedding_channels)
    with torch.no_grad():
        features = network.masked_features(x, nothing, token)
        assert features.shape == (2, network.feature_channels, 6, 6)
        if key == "vit_hybrid_se":
            torch.testing.assert_close(features.flatten(2).transpose(1, 2), network.encode(network.embed(x))[:, 1:])
        else:
            torch.testing.assert_close(network.head.fc(network.se_head(features.mean(dim=(2, 3)))), network(x))


def test_the_decoder_is_a_transposed_convolution() -> None:
    """1×1 convolution and pixel shuffle = a transposed convolution whose kernel is its stride: pixels lie in place."""
    masked = model().eval()
    features = torch.randn(2, 32, 6, 6)
    weight = masked.decoder[0].weight.view(3, 8, 8, 32).permute(3, 0, 1, 2)  # in × out × kernel
    bias = masked.decoder[0].bias.view(3, 8, 8)
    expected = F.conv_transpose2d(features, weight, stride=8) + bias.repeat(1, 6, 6)
    torch.testing.assert_close(masked.decoder(features), expected)


def test_loss_is_the_mean_over_hidden_pixels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = model()
    images, painted = torch.randn(2, 3, 3, 48, 48)
    mask = masked.draw_mask(3, generator())
    monkeypatch.setattr(masked, "forward", lambda images, mask: painted)
    differences = [
        (images[n, :, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] - painted[n, :, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8])
        .abs()
        .flatten()
        for n, r, c in mask.nonzero().tolist()
    ]
    torch.testing.assert_close(masked.loss(images, mask), torch.cat(differences).mean())
    assert not torch.isclose(masked.loss(images, mask), (images - painted).abs().mean())  # negative control: all pixels
    visible = ~spread(mask, 48)[:, None]
    painted = torch.where(visible, 9.0, images)  # right where hidden, wrong everywhere else
    assert masked.loss(images, mask) == 0


@pytest.mark.parametrize("key", ENCODERS)
def test_all_that_is_not_frozen_gets_a_gradient(key: str) -> None:
    masked = model(key)
    masked.loss(torch.randn(2, 3, 48, 48), masked.draw_mask(2, generator())).backward()
    frozen = {name for name, p in masked.named_parameters() if not p.requires_grad}
    without = {name for name, p in masked.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert without == frozen
    head = {name for name, _ in masked.named_parameters() if name.startswith(("encoder.head.", "encoder.se_head."))}
    assert frozen == head


def test_draw_mask_hides_the_same_number_in_each_image() -> None:
    masked = model()
    mask = masked.draw_mask(2000, generator(1))
    assert mask.dtype == torch.bool
    assert mask.shape == (2000, 6, 6)
    assert mask.sum(dim=(1, 2)).unique().tolist() == [22] == [round(0.6 * 36)]
    shares = mask.float().mean(dim=0)  # each square 22 / 36, within 5 standard deviations
    assert (shares - 22 / 36).abs().max() < 5 * (22 / 36 * 14 / 36 / 2000) ** 0.5


def test_draw_mask_is_a_function_of_its_generator() -> None:
    masked = model()
    torch.manual_seed(1)
    first = masked.draw_mask(8, generator(5))
    torch.manual_seed(2)
    assert torch.equal(first, masked.draw_mask(8, generator(5)))
    assert not torch.equal(first, masked.draw_mask(8, generator(6)))
    state = torch.get_rng_state()
    masked.draw_mask(8, generator(5))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("key", "size", "changes", "patch"),
    [
        ("swin_t", 48, {"patch_size": 2}, 8),
        ("swin_t", 48, {"patch_size": 2}, 16),
        ("swin_t", 56, {"patch_size": 2}, 8),
        ("swin_t", 56, {"patch_size": 1, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}, 8),
        ("swin_t", 96, {"patch_size": 4, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}, 16),
        ("vit_hybrid_se", 56, {}, 8),
        ("vit_hybrid_se", 96, {"stem_widths": (8, 8, 8, 8)}, 16),
    ],
)
def test_small_sides(key: str, size: int, changes: dict[str, Any], patch: int) -> None:
    masked = MaskedImageModel(encoder(key, image_size=size, **changes), in_channels=3, patch=patch).eval()
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert masked(images, masked.draw_mask(2, generator())).shape == images.shape


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"patch": 32}, "masking.patch: expected a divisor of the image's side 48, got 32"),
        ({}, {"patch": 6}, "masking.patch: expected a multiple of 4, the network's embedding patch, got 6"),
        ({"image_size": 60}, {"patch": 12}, "image_size: expected a multiple of 8, the stride of the last features"),
        ({}, {"patch": 8, "ratio": 0.01}, "masking.ratio: expected to hide some of 36 patches and to show some"),
        ({}, {"patch": 8, "ratio": 1.0}, "masking.ratio"),
    ],
)
def test_sizes_that_do_not_divide(changes: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskedImageModel(encoder("swin_t", **changes), in_channels=3, **options)


def test_a_network_without_masked_features_is_refused() -> None:
    with pytest.raises(ValueError, match=r"with masked_features \(swin_t, .*got CompactNet"):
        MaskedImageModel(registry.build("nano"), in_channels=1)
    with pytest.raises(ValueError, match="can be pretrained, got CompactNet"):
        load_encoder(registry.build("nano"), {})


def test_default_sizes_on_the_meta_device() -> None:
    """SimMIM's 32-pixel patches on the full networks at 224×224."""
    for name in ("swin_t", "swin_t_se", "vit_hybrid_se"):
        with torch.device("meta"):
            masked = MaskedImageModel(registry.build(name), in_channels=3)
            images, mask = torch.empty(2, 3, 224, 224), torch.empty(2, 7, 7, dtype=torch.bool)
            assert masked.loss(images, mask).shape == ()
            assert masked(images, mask).shape == images.shape
        assert masked.hidden == round(0.6 * 49)


def test_pretraining_learns() -> None:
    """Twenty smooth pictures: painting improves well past the mean colour."""
    torch.manual_seed(0)
    images = F.interpolate(torch.randn(20, 3, 3, 3), size=(48, 48), mode="bicubic")
    masked = model()
    optimizer = torch.optim.AdamW([p for p in masked.parameters() if p.requires_grad], lr=5e-3)
    masks = generator()
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = masked.loss(images, masked.draw_mask(20, masks))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.5 * losses[0]


@pytest.mark.parametrize("target", [k for k in ENCODERS if k.startswith("swin")])
@pytest.mark.parametrize("source", [k for k in ENCODERS if k.startswith("swin")])
def test_swin_encoders_load_into_one_another(source: str, target: str) -> None:
    torch.manual_seed(0)
    masked = MaskedImageModel(encoder(source), in_channels=3, patch=8)
    network: Any = encoder(target)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fresh = load_encoder(network, masked.encoder.state_dict())
    expected = {n for n, _ in network.named_parameters() if n.startswith(("head.", "se_head."))}
    if source != target:
        expected |= {n for n, _ in network.named_parameters() if n.startswith("se_stem.")}
    assert set(fresh) == expected
    assert all(p.requires_grad for p in network.parameters())
    theirs = masked.encoder.state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name] if name in expected else theirs[name]), name
    if "stem" not in source + target or source == target:
        x, mask, token = torch.randn(2, 3, 48, 48), masked.draw_mask(2, generator()), masked.mask_token
        with torch.no_grad():
            features: Any = masked.encoder.eval()
            ours, theirs_ = network.eval().masked_features(x, mask, token), features.masked_features(x, mask, token)
        assert torch.equal(ours, theirs_)


def test_vit_encoder_loads_with_its_batch_statistics() -> None:
    masked = model("vit_hybrid_se")
    masked(torch.randn(4, 3, 48, 48), masked.draw_mask(4, generator()))  # moves the statistics
    network = encoder("vit_hybrid_se")
    fresh = load_encoder(network, masked.encoder.state_dict())
    assert {name.split(".")[0] for name in fresh} == {"head", "se_head"}
    assert torch.equal(network.get_buffer("stem.0.1.running_var"), masked.encoder.get_buffer("stem.0.1.running_var"))


def test_an_encoder_that_does_not_fit_is_refused_and_nothing_is_copied() -> None:
    network = encoder("swin_t")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = encoder("swin_t").state_dict()
    missing = {name: value for name, value in state.items() if name != "norm.weight"}
    with pytest.raises(ValueError, match=r"with norm\.weight, which the network has; it is not there"):
        load_encoder(network, missing)
    with pytest.raises(ValueError, match=r"relative_position_bias_table: expected shape \(49, 2\), got \(25, 2\)"):
        load_encoder(network, encoder("swin_t", window_size=3).state_dict())
    with pytest.raises(ValueError, match=r"got layers\.1\.blocks\.2\.\S+, which it does not have"):
        load_encoder(network, encoder("swin_t", depths=(2, 3)).state_dict())
    with pytest.raises(ValueError, match=r"patch_embed\.proj\.weight"):
        load_encoder(network, encoder("vit_hybrid_se").state_dict())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("pretraining", "start"),
    [("swin_t/pretrain", "swin_t_se/scratch-ssl"), ("vit_hybrid_se/pretrain", "vit_hybrid_se/scratch")],
)
def test_the_shipped_recipes_fit_together(pretraining: str, start: str) -> None:
    """What the pretraining recipe makes loads into the network of the recipe that names it."""
    first, second = load_recipe(pretraining), load_recipe(start)
    assert first.task == "masked_image"
    with torch.device("meta"):
        encoder = registry.build(first.model.name, first.model.args, image_size=first.data.size)
        network = registry.build(second.model.name, second.model.args, image_size=second.data.size)
        masked = MaskedImageModel(encoder, in_channels=3, patch=first.masking.patch, ratio=first.masking.ratio)
        fresh = load_encoder(network, masked.encoder.state_dict())
    assert {name.split(".")[0] for name in fresh} == {"head", "se_head"}


def test_the_papers_arms_differ_in_one_setting_each() -> None:
    arms = {name: load_recipe(name).model_dump() for name in ("swin_t/paper", "swin_t_se/paper", "swin_t_se/paper-sam")}
    for arm in arms.values():
        del arm["name"]
    plain, se, sam = arms.values()
    assert {key for key in se if se[key] != plain[key]} == {"model"}
    assert {key for key in sam if sam[key] != se[key]} == {"optimizer"}
    assert sam["optimizer"] == se["optimizer"] | {"sam": {"rho": 0.05, "adaptive": False, "ascent": "global"}}
