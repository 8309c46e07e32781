"""Generated data sets, the default wherever real data is absent: scenes in COCO format, aerial scenes in DOTA format.

>>> image, objects = render_scene(seed=0, index=3, size=128)
>>> image.shape, {one.name for one in objects} <= set(SCENE_CLASSES)
((128, 128, 3), True)
"""

from rtmdet_lab.synthetic.aerial import render_aerial
from rtmdet_lab.synthetic.aerial_forms import AERIAL_CLASSES, AerialObject
from rtmdet_lab.synthetic.coco_set import SCENE_CATEGORY_IDS, generate_scenes
from rtmdet_lab.synthetic.dota_set import generate_aerial
from rtmdet_lab.synthetic.forms import SCENE_CLASSES
from rtmdet_lab.synthetic.scenes import SceneObject, render_scene

__all__ = [
    "AERIAL_CLASSES",
    "SCENE_CATEGORY_IDS",
    "SCENE_CLASSES",
    "AerialObject",
    "SceneObject",
    "generate_aerial",
    "generate_scenes",
    "render_aerial",
    "render_scene",
]
