"""What settings and models are called elsewhere, so that a name from another program leads to the one that means it here."""

from __future__ import annotations

_ACCUMULATION = "train.gradient_accumulation_steps"
# Last part of a name, without "_" and "-" -> (setting here, what to mind; "" for the same meaning).
_SETTINGS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("emadecay", "emafactor"), ("train.ema_momentum", "which is 1 - decay")),
    **dict.fromkeys(("gradaccum", "gradaccumulation", "gradientaccumulation", "accumulation", "accum"), (_ACCUMULATION, "")),
    **dict.fromkeys(("gradaccumsteps", "gradientaccumulationsteps", "accumulationsteps"), (_ACCUMULATION, "")),
    **dict.fromkeys(("accumulategradbatches", "accumulativecounts"), (_ACCUMULATION, "")),
    **dict.fromkeys(("learningrate", "baselr", "lr0"), ("train.lr", "")),
    **dict.fromkeys(("lrf", "minlr", "etamin"), ("train.lr_floor", "a share of train.lr")),
    **dict.fromkeys(("batch", "bs", "batchsize", "imgsperbatch", "samplespergpu"), ("train.batch_size", "")),
    **dict.fromkeys(("imgsz", "imgsize", "imagesize", "imgscale", "resolution", "inputshape"), ("augment.input_size", "")),
    **dict.fromkeys(("maxepochs", "numepochs", "nepochs"), ("train.epochs", "")),
    **dict.fromkeys(("closemosaic", "noaugepochs", "stage2epochs", "numlastepochs"), ("train.weak_epochs", "")),
    **dict.fromkeys(("numworkers", "workerspergpu", "nworkers", "jobs"), ("train.workers", "")),
    **dict.fromkeys(("warmup", "warmupiters", "warmupepochs"), ("train.warmup_steps", "counted in optimizer steps")),
    **dict.fromkeys(
        ("clipgrad", "gradclipnorm", "maxnorm", "maxgradnorm", "gradientclipval", "clipgradnorm"), ("train.grad_clip", "")
    ),
    **dict.fromkeys(("wd", "decay", "l2"), ("train.weight_decay", "")),
    **dict.fromkeys(("normdecaymult", "biasdecaymult"), ("train.decay_norm_and_bias", "true or false")),
    **dict.fromkeys(("half", "fp16", "bf16", "precision", "mixedprecision", "autocast"), ("train.amp", "off, bf16 or fp16")),
    **dict.fromkeys(("freezebn", "normeval", "bneval"), ("train.norm_eval", "")),
    **dict.fromkeys(("saveperiod", "checkpointinterval", "saveinterval", "saveevery"), ("train.keep_every", "epochs")),
    **dict.fromkeys(("evalinterval", "valperiod", "evalevery"), ("train.val_interval", "epochs")),
    **dict.fromkeys(("loadfrom", "weights", "checkpoint", "initcfg"), ("train.init_weights", "")),
    **dict.fromkeys(("pretrained",), ("model.pretrained_backbone", "or train.init_weights for a whole model")),
    **dict.fromkeys(("conf", "confthres", "confthreshold", "scorethr", "scorethresh"), ("test.score_threshold", "")),
    **dict.fromkeys(("iou", "iouthres", "iouthreshold", "nmsthreshold", "nmsthresh"), ("test.nms_iou", "")),
    **dict.fromkeys(("maxdet", "maxdets", "maxperimg", "maxdetections"), ("test.max_per_image", "")),
    **dict.fromkeys(("nmspre", "prenms"), ("test.max_per_level", "")),
    **dict.fromkeys(("fliplr", "flip", "hflip", "flipratio"), ("augment.flip_prob", "")),
    **dict.fromkeys(("scale", "ratiorange", "scalejitter"), ("augment.resize_range", "two factors")),
    **dict.fromkeys(("nc", "numclass"), ("model.num_classes", "which follows from the data: --classes chooses")),
    **dict.fromkeys(("names", "classnames"), ("data.classes", "")),
    **dict.fromkeys(("widen", "widenfactor", "widthmultiple"), ("model.width", "")),
    **dict.fromkeys(("deepen", "deepenfactor", "depthmultiple"), ("model.depth", "")),
    **dict.fromkeys(("opt", "optim"), ("train.optimizer", "")),
    **dict.fromkeys(("scheduler", "lrscheduler", "lrschedule", "coslr"), ("train.schedule", "")),
}
# The same for what does not exist here: a wrong suggestion would be worse than none.
_ABSENT = {
    **dict.fromkeys(
        ("freezebackbone", "frozenstages", "freeze", "freezelayers", "freezeat"),
        "weights cannot be frozen here; train.norm_eval keeps batch norm as it was loaded",
    ),
    **dict.fromkeys(("patience", "earlystopping"), "runs do not end early; train.epochs is their length"),
    **dict.fromkeys(("device", "gpu", "gpus"), "the device is an option of the command (--device) and a parameter of run"),
    **dict.fromkeys(("resume",), "resuming is an option of the command (--resume) and a parameter of run"),
    **dict.fromkeys(("labelsmoothing",), "targets are soft by the quality of their boxes already"),
    **dict.fromkeys(("cutout", "copypaste", "autoaugment", "randaugment"), "the published recipe has no such step"),
}
_SIZES = {"n": "nano", "t": "tiny", "small": "s", "medium": "m", "large": "l", "xlarge": "x", "xl": "x", "extralarge": "x"}


def meant_setting(name: str) -> str:
    """Returns what a setting of another program is called here, as the end of a sentence, or an empty string.

    >>> meant_setting("train.ema_decay")
    "did you mean 'train.ema_momentum' (which is 1 - decay)?"
    >>> meant_setting("train.batchsise")
    ''
    """
    word = name.rpartition(".")[2].lower().replace("_", "").replace("-", "")
    if word in _ABSENT:
        return _ABSENT[word]
    setting, mind = _SETTINGS.get(word, ("", ""))
    return f"did you mean {setting!r}{f' ({mind})' if mind else ''}?" if setting else ""


def meant_model(name: str) -> str:
    """Returns a model name with its size as it is called here, the name itself where nothing is known of it.

    >>> meant_model("rtmdet-n"), meant_model("RTMDet_ins-large"), meant_model("rtmdet-tny")
    ('rtmdet-nano', 'rtmdet-ins-l', 'rtmdet-tny')
    """
    words = name.lower().replace("_", "-").replace("rotated", "r").split("-")
    return "-".join([*words[:-1], _SIZES.get(words[-1], words[-1])])
