"""Backbone, neck and head put together, and ``create_model`` by published name."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import parse_model_name, resolve_model
from rtmdet_lab.config.settings import ModelConfig, TaskName
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.structures import DensePredictions
from rtmdet_lab.models.backbone import CSPNeXt
from rtmdet_lab.models.head import RTMDetHead
from rtmdet_lab.models.instance_head import RTMDetInsHead
from rtmdet_lab.models.neck import CSPPAFPN
from rtmdet_lab.models.rotated_head import RTMDetRotatedHead

HEADS = {"detection": RTMDetHead, "instance": RTMDetInsHead, "rotated": RTMDetRotatedHead}


class RTMDet(nn.Module):
    """Normalised images (B, 3, H, W) to :class:`DensePredictions`; knows no assigner, no loss, no NMS.

    H and W may be any size; multiples of 32 avoid cells that look past the border. The network computes in the precision
    of its weights (``model.half()``), boxes come in float32 all the same.
    """

    def __init__(self, config: ModelConfig, task: TaskName = "detection") -> None:
        super().__init__()
        # What is known of the weights, so that others are not taken for them: names in label order, and the side of the
        # images they are meant for, pixels.
        self.classes: tuple[str, ...] | None = None
        self.input_size: int | None = None
        if config.head.shared_tower is not None and task != "instance":
            raise SettingError(f"model.head.shared_tower belongs to the task 'instance': leave it unset for {task!r}")
        self.config = resolve_model(config, task)
        self.task = task
        self.backbone = CSPNeXt(self.config)
        self.neck = CSPPAFPN(self.config, self.backbone.out_channels)
        self.bbox_head = HEADS[task](self.config, self.neck.out_channels)

    @property
    def num_classes(self) -> int:
        return self.config.num_classes

    def forward(self, images: Tensor) -> DensePredictions:
        images = images.to(next(self.parameters()).dtype)
        return self.bbox_head(self.neck(self.backbone(images)))


def create_model(name: str, num_classes: int = 80, **overrides: Any) -> RTMDet:
    """Returns an untrained model by its published name: ``rtmdet-{nano,tiny,s,m,l,x}``, ``rtmdet-ins-{tiny,s,m,l,x}``,
    ``rtmdet-r-{tiny,s,m,l}``.

    ``overrides`` are settings of :class:`ModelConfig`: ``create_model("rtmdet-s", kernel_size=7)``; nested ones as a
    mapping (``backbone={"spp": False}``) or dotted (``**{"backbone.spp": False}``).

    Raises:
        KeyError: unknown model or setting, with the nearest known name.
        TypeError, SettingError: a value the setting cannot take.

    >>> model = create_model("rtmdet-tiny", num_classes=6)
    >>> sum(p.numel() for p in model.parameters())
    4874634
    """
    task, size = parse_model_name(name)
    config = with_overrides(ModelConfig(size=size, num_classes=num_classes), overrides)
    return RTMDet(config, task)
