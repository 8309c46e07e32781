"""Finds objects with an exported RTMDet (ONNX, with NMS): NumPy, OpenCV and ONNX Runtime, no PyTorch.

python runner.py MODEL.onnx IMAGE [LEAST_SCORE]
"""

import json
import sys

import cv2
import numpy as np

MEAN, DEVIATION = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # BGR, for files that do not normalise themselves


class Runner:
    """Images to detections. Files of this project carry their settings; those of the published tools may need a size."""

    def __init__(self, path, input_size=None, classes=()):
        import onnxruntime

        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
        except Exception as error:  # its classes of errors are not public
            raise ValueError(f"{path} is missing or no whole ONNX file ({type(error).__name__}): export it again") from error
        about = json.loads(self.session.get_modelmeta().custom_metadata_map.get("rtmdet_lab", "{}"))
        self.input, self.outputs = self.session.get_inputs()[0], [one.name for one in self.session.get_outputs()]
        if not {"dets", "labels"} <= set(self.outputs):
            raise ValueError(f"{path} has no NMS (outputs {', '.join(self.outputs)}): export it with --output detections")
        fixed = self.input.shape[2] if isinstance(self.input.shape[2], int) else 640
        self.size = input_size or about.get("input_size", fixed)
        self.classes = classes or about.get("classes", ())

    def __call__(self, image, least_score=0.0):
        """Returns boxes, scores, labels and, where the model has them, masks of one (H, W, 3) uint8 RGB image."""
        canvas, ratio = np.full((self.size, self.size, 3), 114, np.uint8), self.size / max(image.shape[:2])
        height, width = (max(int(side * ratio + 0.5), 1) for side in image.shape[:2])
        canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        if self.input.type != "tensor(uint8)":
            canvas = (canvas[..., ::-1] - np.float32(MEAN)) / np.float32(DEVIATION)
        images = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None])
        raw = dict(zip(self.outputs, self.session.run(self.outputs, {self.input.name: images}), strict=True))
        return read(
            {name: value[0] for name, value in raw.items()}, self.size, (height, width), image.shape[:2], least_score
        )


def read(raw, canvas, used, size, least_score=0.0):
    """Returns what one image's outputs say, in its own pixels; ``used`` (h, w) of the canvas shows its ``size`` (h, w)."""
    keep = (raw["labels"] >= 0) & (raw["dets"][:, -1] > least_score)  # rows that fill up a batch have score 0
    scale = np.float32([used[1] / size[1], used[0] / size[0]] * 2)
    found = {"boxes": raw["dets"][keep, :4] / scale, "scores": raw["dets"][keep, 4], "labels": raw["labels"][keep]}
    if "masks" in raw:  # logits at an eighth of the canvas; files of the published tools give probabilities of its size
        border = 0 if raw["masks"].shape[-1] < canvas else 0.5
        large = (cv2.resize(one, (canvas, canvas))[: used[0], : used[1]] for one in np.float32(raw["masks"][keep]))
        masks = [cv2.resize(one, size[::-1]) > border for one in large]
        found["masks"] = np.stack(masks) if masks else np.zeros((0, *size), bool)
    return found


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit("usage: python runner.py MODEL.onnx IMAGE [LEAST_SCORE]")
    try:
        image, least_score, runner = cv2.imread(sys.argv[2]), float((*sys.argv, 0.3)[3]), Runner(sys.argv[1])
    except ValueError as error:
        sys.exit(f"error: {error}")
    if image is None:
        sys.exit(f"error: {sys.argv[2]} is missing or no image that OpenCV reads: name another")
    found = runner(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), least_score)
    for label, score, box in zip(found["labels"], found["scores"], found["boxes"], strict=True):
        name = str(runner.classes[label] if len(runner.classes) else label)
        print(name if name.isprintable() else ascii(name), f"{score:.3f}", *box.round(1))
