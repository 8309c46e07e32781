"""The published weight files: where they are, what they scored, and the prefix of their SHA-256 (in their names).

Boxes AP: COCO val2017 with the current test settings (released README). Rotated: DOTA-v1.0 test server, mmAP 50:95 and
AP50. Backbones: ImageNet top-1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rtmdet_lab.core.errors import UnknownNameError, did_you_mean

_MMDET = "https://download.openmmlab.com/mmdetection/v3.0/rtmdet"
_MMROTATE = "https://download.openmmlab.com/mmrotate/v1.0/rotated_rtmdet"
_MMPOSE = "https://download.openmmlab.com/mmpose/v1/projects/rtmpose"


@dataclass(frozen=True)
class ZooEntry:
    name: str  # what users type
    model: str  # the model that takes it, or the backbone's size for classifiers
    url: str
    published: dict[str, float] = field(default_factory=dict)
    num_classes: int = 80
    input_size: int = 640  # side of the images behind the published scores, pixels

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[1]

    @property
    def sha256_prefix(self) -> str:
        return self.filename.removesuffix(".pth").rsplit("-", 1)[1]


def _detection(size: str, stamp: str, ap: float) -> ZooEntry:
    stem = f"rtmdet_{size}_8xb32-300e_coco"
    return ZooEntry(f"rtmdet-{size}-coco", f"rtmdet-{size}", f"{_MMDET}/{stem}/{stem}_{stamp}.pth", {"AP": ap})


def _instance(size: str, stamp: str, ap: float, mask_ap: float) -> ZooEntry:
    stem = f"rtmdet-ins_{size}_8xb{16 if size == 'x' else 32}-300e_coco"
    published = {"AP": ap, "mask AP": mask_ap}
    return ZooEntry(f"rtmdet-ins-{size}-coco", f"rtmdet-ins-{size}", f"{_MMDET}/{stem}/{stem}_{stamp}.pth", published)


def _rotated(name: str, size: str, stem: str, digest: str, published: dict[str, float], classes: int = 15) -> ZooEntry:
    return ZooEntry(name, f"rtmdet-r-{size}", f"{_MMROTATE}/{stem}/{stem}-{digest}.pth", published, classes, 1024)


def _dota(size: str, single: tuple[str, float, float], multi: tuple[str, float, float]) -> list[ZooEntry]:
    rows = []
    for suffix, (digest, mm_ap, ap50) in (("", single), ("_ms", multi)):
        stem = f"rotated_rtmdet_{size}-3x-dota{suffix}"
        name = f"rtmdet-r-{size}-dota{suffix.replace('_', '-')}"
        rows.append(_rotated(name, size, stem, digest, {"mmAP": mm_ap, "AP50": ap50}))
    return rows


def _backbone(size: str, filename: str, top1: float) -> ZooEntry:
    url = f"{_MMDET}/cspnext_rsb_pretrain/{filename}.pth"
    return ZooEntry(f"cspnext-{size}-imagenet", size, url, {"top-1": top1}, num_classes=1000)


_ENTRIES = [
    _detection("tiny", "20220902_112414-78e30dcc", 41.1),
    _detection("s", "20220905_161602-387a891e", 44.6),
    _detection("m", "20220719_112220-229f527c", 49.4),
    _detection("l", "20220719_112030-5a0be7c4", 51.5),
    _detection("x", "20220715_230555-cc79b9ae", 52.8),
    ZooEntry(
        "rtmdet-nano-person",
        "rtmdet-nano",
        f"{_MMPOSE}/rtmdet_nano_8xb32-100e_coco-obj365-person-05d8511e.pth",
        num_classes=1,
        input_size=320,
    ),
    _instance("tiny", "20221130_151727-ec670f7e", 40.5, 35.4),
    _instance("s", "20221121_212604-fdc5d7ec", 44.0, 38.7),
    _instance("m", "20221123_001039-6eba602e", 48.8, 42.1),
    _instance("l", "20221124_103237-78d1d652", 51.2, 43.7),
    _instance("x", "20221124_111313-33d4595b", 52.4, 44.6),
    *_dota("tiny", ("9d821076", 47.37, 75.36), ("f12286ff", 53.59, 79.82)),
    *_dota("s", ("11f6ccf5", 48.16, 76.93), ("20ead048", 54.43, 79.98)),
    *_dota("m", ("beeadda6", 50.56, 78.24), ("c71eb375", 55.00, 80.26)),
    *_dota("l", ("23992372", 51.01, 78.85), ("2738da34", 55.52, 80.54)),
    _rotated(
        "rtmdet-r-l-coco-dota-ms",
        "l",
        "rotated_rtmdet_l-coco_pretrain-3x-dota_ms",
        "06d248a2",
        {"mmAP": 56.74, "AP50": 81.33},
    ),
    _backbone("tiny", "cspnext-tiny_imagenet_600e-3a2dd350", 69.44),
    _backbone("s", "cspnext-s_imagenet_600e-ea671761", 74.41),
    _backbone("m", "cspnext-m_8xb256-rsb-a1-600e_in1k-ecb3bbd9", 79.27),
    _backbone("l", "cspnext-l_8xb256-rsb-a1-600e_in1k-6a760974", 81.30),
    _backbone("x", "cspnext-x_8xb256-rsb-a1-600e_in1k-b3f78edd", 82.10),
]
ZOO: dict[str, ZooEntry] = {entry.name: entry for entry in _ENTRIES}


def zoo_entry(name: str) -> ZooEntry:
    """Returns the entry of that name.

    Raises:
        UnknownNameError: unknown, with the nearest name.

    >>> zoo_entry("rtmdet-tiny-coco").sha256_prefix
    '78e30dcc'
    """
    if name in ZOO:
        return ZOO[name]
    hint = f"{did_you_mean(name, ZOO)} `rtmdet-lab models` lists all".lstrip()
    raise UnknownNameError(f"no file and no published weights {name!r}: {hint}")
