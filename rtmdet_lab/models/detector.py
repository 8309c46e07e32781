"""Backbone, neck and head put together."""

from __future__ import annotations

import re

from torch import Tensor

from rtmdet_lab.config.presets import resolve_model
from rtmdet_lab.config.settings import ModelConfig, TaskName
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.structures import DensePredictions
from rtmdet_lab.models.backbone import CSPNeXt
from rtmdet_lab.models.head import RTMDetHead
from rtmdet_lab.models.neck import CSPPAFPN
from rtmdet_lab.models.network import Network


class RTMDet(Network):
    """Normalised images (B, 3, H, W) to :class:`DensePredictions`; knows no assigner, no loss, no NMS.

    H and W may be any size; multiples of 32 avoid cells that look past the border. The network computes in the precision
    of its weights (``model.half()``), boxes come in float32 all the same.
    """

    class_rows = re.compile(r"bbox_head\.rtm_cls\.")

    def __init__(self, config: ModelConfig, task: TaskName = "detection", head: type[RTMDetHead] = RTMDetHead) -> None:
        super().__init__()
        if config.head.shared_tower is not None and TASKS[task].shared_tower is None:
            owners = ", ".join(repr(name) for name, facts in TASKS.items() if facts.shared_tower is not None)
            raise SettingError(f"model.head.shared_tower belongs to the task {owners}: leave it unset for {task!r}")
        self.config = resolve_model(config, task)
        self.task = task
        self.backbone = CSPNeXt(self.config)
        self.neck = CSPPAFPN(self.config, self.backbone.out_channels)
        self.bbox_head = head(self.config, self.neck.out_channels)

    def forward(self, images: Tensor) -> DensePredictions:
        images = images.to(next(self.parameters()).dtype)
        return self.bbox_head(self.neck(self.backbone(images)))

    def raw(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.bbox_head.raw(self.neck(self.backbone(images)))
