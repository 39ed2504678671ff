"""Any network of timm as ``timm/<name>``: a seam for comparisons, without a file of ours for each.

model: {name: timm/resnet18, args: {drop_rate: 0.2}, init: imagenet}
"""

from functools import partial

from torch import nn

from mien.models.backbones import timm_knowing, timm_model
from mien.models.registry import ModelSpec


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
    """drop_rate, drop_path_rate: timm's own. image_size: side in pixels, for those built for one (ViT, Swin, …)."""
    options: dict[str, object] = {"num_classes": num_classes, "in_chans": in_channels, "drop_rate": drop_rate}
    options |= {"drop_path_rate": drop_path_rate} if drop_path_rate is not None else {}
    if image_size is not None and built_for_one_side(timm_name):
        options["img_size"] = image_size
    return timm_model(timm_name, pretrained=pretrained, options=options)


def built_for_one_side(timm_name: str) -> bool:
    config = timm_knowing(timm_name).get_pretrained_cfg(timm_name)
    return config is not None and config.fixed_input_size


def timm_spec(name: str) -> ModelSpec:
    """The registry's entry for ``timm/<name>``. Raises RecipeError for a name that timm does not know."""
    timm_name = name.removeprefix("timm/")
    config = timm_knowing(timm_name).get_pretrained_cfg(timm_name)
    side = config.input_size[1] if config is not None else 224
    return ModelSpec(
        name=name,
        build=partial(timm_network, timm_name),
        source="timm (Wightman 2019)",
        summary=f"timm's {timm_name}",
        color="rgb",
        input_sizes=(side,),
    )
