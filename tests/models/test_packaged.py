"""The backbones that come inside packages: each computes what its original runtime computes with the same file.

Skipped, and said so, where a package is not installed: pip install 'mien[backbones]'.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from dlib_answer import DESCRIPTOR, picture
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from mien.errors import RecipeError, WeightsError
from mien.models import registry
from mien.models.backbones import timm_model
from mien.models.packaged.dlib_file import read_network
from mien.models.packaged.efficientnet_lite0 import weights as lite0_weights
from mien.models.packaged.packages import Backbone, all_backbones, backbone, read_file, start_from_package
from mien.models.packaged.statistics import measure_statistics
from mien.onnx_file import constants, dequantised, parse_model
from mien.training.networks import recipe_preprocess
from mien.training.recipe import load_recipe


def file_of(name: str) -> bytes:
    try:
        return read_file(backbone(name))
    except WeightsError as error:
        pytest.skip(str(error))


def started(name: str) -> nn.Module:
    file_of(name)
    torch.manual_seed(0)
    network = registry.build(name)
    assert start_from_package(network, name, model=name) == ["classifier.weight", "classifier.bias"]
    return network.eval()


def as_recipe_has_it(name: str, image: np.ndarray) -> Tensor:
    """uint8 H×W×3 → 1×3×H×W by the numbers of the network's shipped recipe."""
    preprocess = recipe_preprocess(load_recipe(f"{name}/finetune"))
    return torch.from_numpy(preprocess.normalise(image.transpose(2, 0, 1)[None]))


@torch.no_grad()
def test_dlib_resnet_says_what_dlib_says() -> None:
    network, head = started("dlib_resnet"), read_network(file_of("dlib_resnet")).layers[-1]

    def descriptor(image: np.ndarray) -> np.ndarray:
        features = network.features(as_recipe_has_it("dlib_resnet", image))  # type: ignore[operator]
        return np.asarray(features.numpy()[0] @ head.tensors["weights"])

    np.testing.assert_allclose(descriptor(picture()), DESCRIPTOR, atol=2e-6)
    # The controls: another order of colours, and a mirrored picture.
    assert np.abs(descriptor(picture()[:, :, ::-1].copy()) - DESCRIPTOR).max() > 1e-3
    assert np.abs(descriptor(picture()[:, ::-1].copy()) - DESCRIPTOR).max() > 1e-3


def test_dlib_resnets_recipe_has_dlibs_own_means() -> None:
    means = read_network(file_of("dlib_resnet")).means
    assert [255 * mean for mean in load_recipe("dlib_resnet/finetune").data.mean] == pytest.approx(means, abs=1e-3)
    assert [255 * std for std in load_recipe("dlib_resnet/finetune").data.std] == pytest.approx([256] * 3, abs=1e-3)


@torch.no_grad()
def test_sface_says_what_onnx_runtime_says() -> None:
    """The original graph, its constants multiplied out by ONNX's reference; the map before the descriptor."""
    session, image = onnxruntime.InferenceSession(plain_graph(file_of("sface"))), np.random.default_rng(0)
    pixels = image.integers(0, 256, (112, 112, 3), np.uint8)
    theirs = session.run(["bn1"], {"data": pixels.transpose(2, 0, 1)[None].astype(np.float32)})[0]
    network = started("sface")
    ours = network.maps(as_recipe_has_it("sface", pixels)).numpy()  # type: ignore[operator]
    np.testing.assert_allclose(ours, theirs, atol=5e-6)
    other = network.maps(as_recipe_has_it("sface", pixels[:, :, ::-1].copy())).numpy()  # type: ignore[operator]
    assert np.abs(other - theirs).max() > 1e-3


def plain_graph(raw: bytes) -> bytes:
    """The file without its constant arithmetic, which ONNX's reference does instead of us."""
    model = onnx.load_model_from_string(raw)
    graph = model.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = list(graph.node)
    for node in [node for node in nodes if node.op_type in ("DequantizeLinear", "Reshape")]:
        one = helper.make_graph(
            [node], "one", [], [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)],
            [numpy_helper.from_array(values[name], name) for name in node.input],
        )  # fmt: skip
        single = helper.make_model(one, opset_imports=model.opset_import)
        values[node.output[0]] = ReferenceEvaluator(single).run(None, {})[0]
        nodes.remove(node)
    used = {name for node in nodes for name in node.input}
    outputs = [helper.make_tensor_value_info("bn1", TensorProto.FLOAT, None)]
    data = [value for value in graph.input if value.name == "data"]
    initializers = [numpy_helper.from_array(value, name) for name, value in values.items() if name in used]
    kept = helper.make_graph(nodes, "plain", data, [*graph.output, *outputs], initializers)
    result: bytes = helper.make_model(kept, opset_imports=model.opset_import).SerializeToString()
    return result


@torch.no_grad()
def test_lite0_knows_what_imagenet_knows() -> None:
    """With the file's own classifier, the backbone under timm's names tells a cat, an espresso and a rocket."""
    data, transform = pytest.importorskip("skimage.data"), pytest.importorskip("skimage.transform")
    raw = file_of("efficientnet_lite0")
    network = timm_model("tf_efficientnet_lite0").eval()
    state = torch.load(io.BytesIO(raw), weights_only=True)
    head = {f"classifier.{part}": state[f"_fc.{part}"] for part in ("weight", "bias")}

    def told(image: np.ndarray) -> int:
        pixels = (transform.resize(image, (224, 224), anti_aliasing=True) * 255).astype(np.uint8)
        return int(network(as_recipe_has_it("efficientnet_lite0", pixels)).argmax())

    right: list[Callable[[], bool]] = [
        lambda: told(data.cat()[:, 75:375]) in (281, 282, 285),  # tabby, tiger cat, Egyptian cat
        lambda: told(data.coffee()[:, 100:500]) == 967,  # espresso
        lambda: told(data.rocket()[:, 107:534]) in (657, 744),  # missile, projectile
    ]
    assert not any(check() for check in right)  # the control: random weights
    network.load_state_dict(lite0_weights(raw, network) | head, strict=False)
    assert all(check() for check in right)


@pytest.mark.parametrize("name", [entry.network for entry in all_backbones()])
def test_another_network_is_refused_in_one_line(name: str) -> None:
    file_of(name)
    other = "nano" if name != "efficientnet_lite0" else "sface"
    with pytest.raises(RecipeError, match=f"package:{name} holds a {name}, this recipe has {other}"):
        start_from_package(registry.build(other), name, model=other)
    if name == "efficientnet_lite0":
        return
    narrow = registry.build(name, dict(registry.spec(name).reduced))
    before = {key: value.clone() for key, value in narrow.state_dict().items()}
    with pytest.raises(RecipeError, match=f"package:{name} does not fit this recipe's {name}"):
        start_from_package(narrow, name, model=name)
    assert all(torch.equal(before[key], value) for key, value in narrow.state_dict().items())


@pytest.mark.parametrize("entry", all_backbones(), ids=lambda t: t.network)
def test_each_says_where_it_comes_from(entry: Backbone) -> None:
    origin = entry.origin()
    assert all(origin.values())
    assert entry.network in [spec.name for spec in registry.all_specs()]
    assert len(origin["sha256"]) == 64
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"{entry.package}=={entry.version}"' in pyproject.partition("backbones = [")[2].partition("]")[0]


def with_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Backbone:
    """dlib's entry, but in a package of ours; whoever imports that is told off."""
    package = tmp_path / "mien_made_up_package"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('a package of weights must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = backbone("dlib_resnet")
    (package / entry.file).write_bytes(content)
    return made_up(entry)


def made_up(entry: Backbone) -> Backbone:
    values = {key: getattr(entry, key) for key in Backbone.__slots__}
    return Backbone(**values | {"module": "mien_made_up_package"})


def test_a_missing_package_is_one_line_with_the_command() -> None:
    with pytest.raises(WeightsError) as error:
        read_file(made_up(backbone("dlib_resnet")))
    assert str(error.value) == (
        "model.init: package:dlib_resnet: expected the package face_recognition_models 0.3.0, which is not installed; "
        "run: pip install face_recognition_models==0.3.0"
    )


def test_an_altered_file_is_one_line_and_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = with_file(tmp_path, monkeypatch, b"not what was published")
    with pytest.raises(WeightsError) as error:
        read_file(entry)
    message = str(error.value)
    assert "SHA-256 55533b28a95800a5…, got " in message
    assert message.endswith("run: pip install --force-reinstall --no-deps face_recognition_models==0.3.0")
    assert "\n" not in message
    (tmp_path / "mien_made_up_package" / entry.file).unlink()
    with pytest.raises(WeightsError, match=r"without models/dlib_face_\w+_v1\.dat; run: pip"):
        read_file(entry)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="one of dlib_resnet, efficientnet_lite0, sface; got 'resnet50'"):
        backbone("resnet50")


def some_network() -> nn.Module:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3, 2), nn.BatchNorm2d(4), nn.Flatten()
    )
    for module in network:
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(2, 3)
            module.bias.data.uniform_(-1, 1)
    return network


@torch.no_grad()
def test_measured_statistics_leave_the_function_as_it_is() -> None:
    pictures = torch.rand(9, 3, 12, 12, generator=torch.Generator().manual_seed(2)) * 3 + 1
    before, measured = some_network().eval(), some_network().eval()
    measure_statistics(measured, pictures, batch=4)
    assert not measured.training
    torch.testing.assert_close(measured(pictures), before(pictures), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(measured(-pictures), before(-pictures), atol=1e-4, rtol=1e-4)  # of other pictures too
    # In training, where the batch's own statistics stand, only the measured one still computes the same.
    torch.testing.assert_close(measured.train()(pictures), before.eval()(pictures), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(before.train()(pictures), before.eval()(pictures), atol=0.1)


@pytest.mark.parametrize(
    ("shape", "scales", "settings"),
    [
        ((4, 6), (), {}),
        ((4, 6), (6,), {"axis": 1}),
        ((4, 6), (4,), {"axis": 0}),
        ((4, 6), (4, 2), {"axis": 1, "block_size": 3}),
        ((5, 6), (3, 6), {"axis": 0, "block_size": 2}),
    ],
)
@pytest.mark.parametrize("with_zeros", [True, False])
def test_dequantising_is_onnxs(
    shape: tuple[int, ...], scales: tuple[int, ...], settings: dict[str, int], with_zeros: bool
) -> None:
    random = np.random.default_rng(3)
    inputs = {"x": random.integers(-128, 128, shape, np.int8), "s": random.uniform(0.1, 1, scales).astype(np.float32)}
    if with_zeros:
        inputs["z"] = random.integers(-9, 9, scales, np.int8)
    node = helper.make_node("DequantizeLinear", list(inputs), ["y"], **settings)
    given = [numpy_helper.from_array(np.asarray(value), name) for name, value in inputs.items()]
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    try:
        expected = ReferenceEvaluator(model).run(None, {})[0]
    except ValueError:
        assert shape[settings["axis"]] % settings["block_size"]  # the reference takes whole blocks alone
        blocks = np.repeat(inputs["s"], 2, 0)[:5], np.repeat(inputs.get("z", np.zeros(scales)), 2, 0)[:5]
        expected = (inputs["x"] - blocks[1]) * blocks[0]
    found = constants(parse_model(model.SerializeToString()).graph)["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32
    if scales == (4, 2):
        with pytest.raises(ValueError, match="for blocks of 2"):
            dequantised(inputs["x"], inputs["s"], axis=1, block_size=2)


@torch.no_grad()
@pytest.mark.parametrize("name", [entry.network for entry in all_backbones()])
def test_a_fresh_classifier_has_no_opinion(name: str) -> None:
    """Large logits at the first step would send large gradients into the backbone."""
    network, pictures = started(name), torch.rand(8, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    assert network(pictures).log_softmax(1).mean().item() == pytest.approx(-np.log(7), abs=0.3)
    if name == "efficientnet_lite0":  # the control: as timm leaves it
        plain = timm_model("tf_efficientnet_lite0", options={"num_classes": 7}).eval()
        plain.load_state_dict(lite0_weights(file_of(name), plain), strict=False)
        assert plain(pictures).log_softmax(1).mean().item() < -np.log(7) - 1
