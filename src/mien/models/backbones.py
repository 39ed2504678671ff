"""Backbones from timm, with ImageNet weights where they can be downloaded.

One place turns timm's and the hub's many ways to fail into one line that names the way out.
"""

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import nn

from mien.errors import RecipeError, UsageError, WeightsError


def timm_model(name: str, *, pretrained: bool = False, options: Mapping[str, Any] | None = None) -> nn.Module:
    """``timm.create_model``; options are its keyword arguments (in_chans, num_classes, img_size, …).

    Raises WeightsError where ImageNet weights cannot be fetched, RecipeError for a name that timm does not know,
    UsageError where timm does not load.
    """
    timm = timm_knowing(name)
    if not pretrained:
        return timm.create_model(name, **(options or {}))
    if not timm.models.is_model_pretrained(name):
        raise RecipeError(f"model.init: imagenet: timm has no weights of {name}", hint="use model.init: scratch")
    try:
        with _cached_only_when_offline():
            return timm.create_model(name, pretrained=True, **(options or {}))
    except Exception as error:  # the hub's client, requests, the file system and timm share no base
        timm.create_model(name, **(options or {}))  # wrong options fail here as well, and say what is wrong
        raise WeightsError(
            f"model.init: imagenet: expected to fetch timm's weights of {name}, got {type(error).__name__}",
            hint="use model.init: scratch, or run once where huggingface.co can be reached",
        ) from error


def timm_network(
    timm_name: str,
    *,
    num_classes: int = 7,
    in_channels: int = 3,
    pretrained: bool = False,
    drop_rate: float = 0.0,
    drop_path_rate: float | None = None,
    image_size: int | None = None,
) -> nn.Module:
    """Any network of timm: what a recipe's ``{name: timm/resnet18, args: {drop_rate: 0.2}, init: imagenet}`` builds.

    drop_rate, drop_path_rate: timm's own. image_size: side in pixels, for networks built for one (ViT, Swin, …).
    """
    config = timm_knowing(timm_name).get_pretrained_cfg(timm_name)
    options: dict[str, object] = {"num_classes": num_classes, "in_chans": in_channels, "drop_rate": drop_rate}
    options |= {"drop_path_rate": drop_path_rate} if drop_path_rate is not None else {}
    if image_size is not None and config is not None and config.fixed_input_size:
        options["img_size"] = image_size
    return timm_model(timm_name, pretrained=pretrained, options=options)


def timm_knowing(name: str) -> Any:
    """The package timm, which has a network of that name. Raises as :func:`timm_model`."""
    logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        import timm
    except (ImportError, RuntimeError, OSError) as error:  # torchvision of another torch: RuntimeError
        raise UsageError(
            f"expected timm and torchvision to load, got: {error}",
            hint="install them together with torch: pip install --upgrade torch torchvision timm",
        ) from error
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0].split('.')[0]}*")[:6]
        raise RecipeError(
            f"model.name: expected a network that timm {timm.__version__} knows, got {name!r}",
            hint=f"for example {', '.join(near)}" if near else "list them with timm.list_models()",
        )
    tag = name.partition(".")[2]
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name.partition('.')[0]}.*")]
    if tag and tag not in tags:
        raise RecipeError(
            f"model.name: timm {timm.__version__} knows no weights {name!r}", hint=f"known: {', '.join(tags)}"
        )
    return timm


@contextmanager
def _cached_only_when_offline() -> Iterator[None]:
    """The hub's client tries for a minute where no name resolves or a proxy is dead: then only its cache is asked."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        proxy = urlsplit(getproxies().get("https") or getproxies().get("all") or "")
        if proxy.hostname:
            socket.create_connection((proxy.hostname, proxy.port or 80), timeout=5).close()
        else:
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except (OSError, ValueError):
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
