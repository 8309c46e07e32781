"""Settings, options and notebook parameters that do not exist, or have values that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from made_faults import Case, Place

from rtmdet_lab.notebook.parameters import check_parameters

SETTINGS: list[tuple[str, tuple[str, ...]]] = [
    ("model.kernal_size=5", ("'model.kernal_size'", "did you mean 'model.kernel_size'")),
    ("model.kernel_size=4", ("model.kernel_size is 4", "positive odd number")),
    ("model.kernel_size=5.0", ("'model.kernel_size'", "whole number")),
    ("model.kernel_size=", ("'model.kernel_size'", "whole number")),
    ("model.kernel_size=1" + "0" * 6000, ("'model.kernel_size'", "whole number")),
    ("model.kernel_size=true", ("'model.kernel_size'", "whole number")),
    ("model.backbone.stage_blocks=[3,6]", ("'model.backbone.stage_blocks'", "4 values")),
    ("model.backbone.stage_blocks=[3,6,6,0]", ("backbone.stage_blocks", "from 1 to")),
    ("model.backbone.stage_blocks=3,6,6,3", ("'model.backbone.stage_blocks'", "expected a list")),
    ("model.backbone=7", ("'model.backbone'", "expected a mapping")),
    ('model={"kernal":5}', ("'model.kernal'", "kernel_size")),
    ("model.width=1e999", ("'model.width'", "must be finite")),
    ("model.width=-1", ("model.width is -1", "positive")),
    ("model.num_classes=1000000000", ("model.num_classes", "at most")),
    ("model.head.sharing=some", ("'model.head.sharing'", "must be one of")),
    ("train.epochs=0", ("train.epochs is 0", "at least 1")),
    ("train.lr=nan", ("'train.lr'", "expected a number")),
    ("train.lr=NaN", ("'train.lr'", "must be finite")),
    ("train.ema=1", ("'train.ema'", "True or False")),
    ("train.batch_size=-8", ("train.batch_size is -8", "at least 1")),
    ("augment.input_size=1000", ("augment.input_size is 1000", "a multiple of 32")),
    ("augment.resize_range=[2.0,0.1]", ("augment.resize_range", "the smaller first")),
    ("augment.flip_prob=1.5", ("augment.flip_prob is 1.5", "between 0 and 1")),
    ("test.tta_scales=[]", ("test.tta_scales", "a list of factors")),
    ("test.nms_iou=0", ("test.nms_iou is 0", "(0, 1]")),
    ("data.classes=ship", ("'data.classes'", "expected a list")),
    ("data.repeat=0", ("data.repeat is 0", "at least 1")),
    ("train.epochs.more=1", ("'train.epochs.more'", "has no parts")),
    ("__class__=1", ("no setting '__class__'",)),
    ("model.__init__=1", ("no setting 'model.__init__'",)),
    ("model..kernel_size=5", ("no setting 'model..kernel_size'",)),
    ("=5", ("'=5'", "NAME=VALUE")),
    ("train.epochs", ("'train.epochs'", "NAME=VALUE")),
    ("model=" + "[" * 20_000, ("'model'", "expected a mapping")),
    ("seed=one", ("'seed'", "whole number")),
    ("\x1b[2Jseed=1", ("\\x1b[2Jseed",)),
]


def predicted(*options: Any) -> Callable[[Place], list[Any]]:
    return lambda place: place.predict(more=options)


OPTIONS: list[tuple[str, Callable[[Place], list[Any]], tuple[str, ...]]] = [
    ("no verb", lambda place: [], ("required", "VERB")),
    ("unknown verb", lambda place: ["trian"], ("invalid choice: 'trian'",)),
    ("unknown option", lambda place: ["models", "--sizes"], ("unrecognized arguments: --sizes",)),
    ("missing option", lambda place: ["predict", "a.jpg"], ("required", "--checkpoint")),
    ("model that does not exist", lambda place: ["models", "rtmdet-huge"], ("'rtmdet-huge'", "rtmdet-")),
    ("classes that are none", lambda place: ["models", "rtmdet-tiny", "--num-classes", 0], ("num_classes", "at least 1")),
    (
        "input of no pixels",
        lambda place: ["models", "rtmdet-tiny", "--input-size", 0],
        ("input size is 0", "at least 32 pixels"),
    ),
    ("text for a number", predicted("--batch-size", "many"), ("--batch-size", "invalid int value: 'many'")),
    ("batch of none", predicted("--batch-size", 0), ("test.batch_size is 0", "at least 1")),
    ("input size between", predicted("--input-size", 50), ("test.input_size is 50", "multiple of 32")),
    ("score that is no number", predicted("--score-threshold", "nan"), ("score_threshold", "is nan", "must be in")),
    ("score above one", predicted("--score-threshold", 2), ("test.score_threshold is 2.0", "[0, 1)")),
    ("overlap above the tile", predicted("--tile", 64, "--overlap", 64), ("test.overlap", "less than")),
    ("overlap below zero", predicted("--tile", 64, "--overlap", -1), ("test.overlap is -1", "zero or more")),
    ("device that does not exist", predicted("--device", "tpu"), ("'tpu'", "auto, cpu or cuda")),
    ("class that the weights do not have", predicted("--classes", "one"), ("no class 'one'", "'wide', 'tall'")),
    (
        "submission of upright boxes",
        lambda place: place.predict(more=["--submission", place.out / "a.zip"]),
        ("--submission",),
    ),
    (
        "submission into a file's folder",
        lambda place: place.predict(
            place.aerial / "images", weights=place.turned, more=["--submission", place.file("in", "") / "task1.zip"]
        ),
        ("cannot write", "task1.zip"),
    ),
    (
        "output folder that is a file",
        lambda place: place.predict(more=["--out", place.file("a", "")]),
        ("cannot write", "/a/"),
    ),
    ("result into a folder", lambda place: place.predict(more=["--json", place.bad]), ("bad is a folder", "name a file")),
    (
        "drawing of an unknown kind",
        lambda place: place.score(place.data / "annotations/instances_val.json", None, "--curves", place.out / "a.xyz"),
        ("a.xyz", ".png"),
    ),
    (
        "workers below zero",
        lambda place: place.score(place.data / "annotations/instances_val.json", None, "--workers", -1),
        ("train.workers is -1", "zero or more"),
    ),
    (
        "set of fewer pictures than none",
        lambda place: ["data", "generate", place.out / "set", "--train", -1],
        ("train", "-1"),
    ),
    ("set of no size", lambda place: ["data", "generate", place.out / "set", "--size", 1], ("size", "1")),
    ("set of an unknown form", lambda place: ["data", "generate", place.out / "set", "--classes", "blob"], ("'blob'",)),
    (
        "set too difficult",
        lambda place: ["data", "generate", place.out / "set", "--difficulty", "nan"],
        ("difficulty", "nan"),
    ),
    (
        "scales that are text",
        lambda place: place.split(place.aerial / "labelTxt", None, "--scales", "1,x"),
        ("'1,x'", "0.5,1,1.5"),
    ),
    (
        "scale of zero",
        lambda place: place.split(place.aerial / "labelTxt", None, "--scales", "0"),
        ("scales", "0.01 to 100"),
    ),
    (
        "scale that is no number",
        lambda place: place.split(place.aerial / "labelTxt", None, "--scales", "nan"),
        ("scales", "0.01 to 100"),
    ),
    (
        "share that is no number",
        lambda place: place.split(place.aerial / "labelTxt", None, "--window-share", "nan"),
        ("window_share", "nan"),
    ),
    (
        "workers that are none",
        lambda place: place.split(place.aerial / "labelTxt", None, "--workers", "0"),
        ("workers", "at least 1"),
    ),
    (
        "check of nothing",
        lambda place: ["data", "check", place.bad / "gone", place.bad / "gone.json"],
        ("gone", "does not exist"),
    ),
    (
        "target that does not exist",
        lambda place: ["export", place.weights, "--to", "coreml", "--out", place.out / "a"],
        ("'coreml'", "onnx"),
    ),
    (
        "int8 without images",
        lambda place: ["export", place.weights, "--to", "onnx", "--precision", "int8"],
        ("--calibration",),
    ),
    (
        "folder without weights",
        lambda place: ["export", place.bad, "--to", "onnx"],
        ("holds no weights", "name a run folder"),
    ),
    ("port that is none", lambda place: ["browse", place.bad, "--port", 99999], ("port is 99999", "1 to 65535")),
    ("nothing to browse", lambda place: ["browse"], ("nothing to browse", "--predictions")),
    (
        "data folder without sets",
        lambda place: place.train(data=place.bad),
        ("no train set in a known layout", "name the four"),
    ),
    ("resume of nothing", lambda place: place.train(more=["--resume"]), ("run", "resume")),
    ("processes that are none", lambda place: place.train(more=["--processes", 0]), ("0", "at least 1")),
    ("address that is no server", lambda place: place.predict(weights="http://127.0.0.1:9/a.pth"), ("127.0.0.1:9",)),
    ("address that is none", lambda place: place.predict(weights="http://"), ("http://", "no address of a weight file")),
]

DECLARED = "# parameters\nepochs = 3\nlr = 0.1\nclasses = ['a']\nresume = False\nmodel = 'tiny'\nextra = None"


def parameters(injected: str, declared: str = DECLARED) -> Callable[[Place], Callable[[], Any]]:
    return lambda place: lambda: check_parameters([declared, f"# Parameters\n{injected}"])


PARAMETERS: list[tuple[str, Callable[[Place], Any], tuple[str, ...]]] = [
    ("misspelt", parameters("epoch = 3"), ("'epoch'", "did you mean 'epochs'")),
    ("unknown", parameters("colour = 3"), ("'colour'", "this notebook has epochs")),
    ("text for a number", parameters("epochs = 'three'"), ("'epochs'", "whole number", "'three'")),
    ("text for a truth value", parameters("resume = 'false'"), ("'resume'", "write True or False")),
    ("number for a truth value", parameters("resume = 1"), ("'resume'", "True or False")),
    ("fraction for a whole number", parameters("epochs = 2.5"), ("'epochs'", "whole number")),
    ("text for a list", parameters("classes = \"('a', 'b')\""), ("'classes'", "pass it as YAML")),
    ("nothing for a number", parameters("lr = None"), ("'lr'", "a number")),
    ("mapping for text", parameters("model = {}"), ("'model'", "text")),
    ("code in place of a value", parameters("epochs = __import__('os').system('touch ran')"), ("'epochs'", "whole number")),
    ("code inside of a float", parameters("lr = float(open('ran', 'w'))"), ("'lr'",)),
    ("cell that is no Python", parameters("epochs = = 3"), ("parameters cell", "line 2", "NAME = VALUE")),
    ("cell of deep Python", parameters("epochs = " + "(" * 5000), ("parameters cell", "NAME = VALUE")),
    ("notebook without parameters", parameters("epochs = 1", declared="x = 1"), ("no parameters cell", "first line")),
]
CASES = [
    *(Case(f"setting: {text[:40]!r}", lambda place, text=text: place.train(text), words) for text, words in SETTINGS),
    *(Case(f"option: {name}", make, words) for name, make, words in OPTIONS),
    *(Case(f"parameter: {name}", make, words) for name, make, words in PARAMETERS),
]
