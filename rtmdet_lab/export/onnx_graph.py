"""Post-processing as an ONNX graph: threshold, best per level, class-wise NMS, best per image, masks.

Step by step what :func:`rtmdet_lab.tasks.detection.decode_boxes` and ``decode_instances`` do, for a batch at once and in the
pixels of the network's input. IoU does not change when x and y are scaled, so NMS may come before the way back. Outputs are
named and laid out as those of the published deployment tools: ``dets`` (B, N, 5) with x1 y1 x2 y2 score, best first;
``labels`` (B, N), -1 where an image has fewer than N; here also ``masks`` (B, N, H/8, W/8): logits, positive inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.settings import TaskName, TestConfig
from rtmdet_lab.tasks.factory import spec_of

if TYPE_CHECKING:
    import onnx

OPSET = 18
POSTPROCESSING = "found/"  # begins the name of every node behind the network

CONSTANTS = """
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    axis0 = Constant <value = int64[1] {0}> ()
    axis1 = Constant <value = int64[1] {1}> ()
    axis2 = Constant <value = int64[1] {2}> ()
    at2 = Constant <value = int64[1] {2}> ()
    at3 = Constant <value = int64[1] {3}> ()
    at4 = Constant <value = int64[1] {4}> ()
    nothing = Constant <value = float {0.0}> ()
"""

SIZES = """
    shape = Shape (images)
    batch1 = Slice (shape, axis0, axis1)
    batch = Squeeze (batch1, axis0)
    height1 = Slice (shape, at2, at3)
    width1 = Slice (shape, at3, at4)
"""

CLIPPED = """
    limit_size = Concat <axis = 0> (width1, height1, width1, height1)
    limit = Cast <to = 1> (limit_size)
    not_left = Max (boxes, nothing)
    clipped = Min (not_left, limit)
    x1y1 = Slice (clipped, axis0, at2, axis2)
    x2y2 = Slice (clipped, at2, at4, axis2)
    ordered = Max (x1y1, x2y2)
    solid = Concat <axis = 2> (x1y1, ordered)
    has_sides = Less (x1y1, x2y2)
    has_sides_int = Cast <to = 7> (has_sides)
    sides = ReduceMin <keepdims = 1> (has_sides_int, axis2)
    has_area = Cast <to = 9> (sides)
    scores = Where (has_area, passed, nothing)
"""  # boxes without area are dropped, after each level's best were taken

CHOSEN = """
    flat_scores = Transpose <perm = [0, 2, 1]> (scores)
    counts = Shape (scores)
    every = Slice (counts, axis1, at2)
    selected = NonMaxSuppression (solid, flat_scores, every, nms_iou, least_score)
    unsorted = GatherND (flat_scores, selected)
    found = Shape (unsorted)
    sorted, order = TopK <axis = 0> (unsorted, found)
    ranked = Gather <axis = 0> (selected, order)
    image = Slice (ranked, axis0, axis1, axis1)
    images_in_all = Range (zero, batch, one)
    belongs = Equal (image, images_in_all)
    belongs_int = Cast <to = 7> (belongs)
    running = CumSum (belongs_int, zero)
    running_own = Mul (running, belongs_int)
    place = ReduceSum <keepdims = 1> (running_own, axis1)
    most = Constant <value = int64 {MAX_PER_IMAGE}> ()
    in_time = LessOrEqual (place, most)
    in_time1 = Squeeze (in_time, axis1)
    kept = Compress <axis = 0> (ranked, in_time1)
    kept_place = Compress <axis = 0> (place, in_time1)
    kept_score = Compress <axis = 0> (sorted, in_time1)
    kept_score1 = Unsqueeze (kept_score, axis1)
    kept_image = Slice (kept, axis0, axis1, axis1)
    kept_label = Slice (kept, axis1, at2, axis1)
    kept_label1 = Squeeze (kept_label, axis1)
    kept_point = Slice (kept, at2, at3, axis1)
    image_point = Concat <axis = 1> (kept_image, kept_point)
    kept_boxes = GatherND (clipped, image_point)
    rows = Concat <axis = 1> (kept_boxes, kept_score1)
    kept_row = Sub (kept_place, one)
    cell = Concat <axis = 1> (kept_image, kept_row)
    place_flat = Squeeze (kept_place, axis1)
    place_or_none = Concat <axis = 0> (axis0, place_flat)
    longest = ReduceMax <keepdims = 1> (place_or_none, axis0)
    table = Concat <axis = 0> (batch1, longest)
    five = Constant <value = int64[1] {5}> ()
    dets_shape = Concat <axis = 0> (table, five)
    dets_empty = ConstantOfShape <value = float[1] {0.0}> (dets_shape)
    dets = ScatterND (dets_empty, cell, rows)
    labels_empty = ConstantOfShape <value = int64[1] {-1}> (table)
    labels = ScatterND (labels_empty, cell, kept_label1)
"""

# See rtmdet_lab/layers/dynamic_masks.py: the point goes into the weights of the first layer.
MASKS = """
    rest = Constant <value = int64[1] {9223372036854775807}> ()
    kernel = GatherND (kernels, image_point)
    e80 = Constant <value = int64[1] {80}> ()
    e144 = Constant <value = int64[1] {144}> ()
    e152 = Constant <value = int64[1] {152}> ()
    e160 = Constant <value = int64[1] {160}> ()
    e168 = Constant <value = int64[1] {168}> ()
    w1_flat = Slice (kernel, axis0, e80, axis1)
    w2_flat = Slice (kernel, e80, e144, axis1)
    w3_flat = Slice (kernel, e144, e152, axis1)
    b1_flat = Slice (kernel, e152, e160, axis1)
    b2_flat = Slice (kernel, e160, e168, axis1)
    b3_flat = Slice (kernel, e168, rest, axis1)
    as_w1 = Constant <value = int64[3] {-1, 8, 10}> ()
    as_w2 = Constant <value = int64[3] {-1, 8, 8}> ()
    as_w3 = Constant <value = int64[3] {-1, 1, 8}> ()
    w1 = Reshape (w1_flat, as_w1)
    w2 = Reshape (w2_flat, as_w2)
    w3 = Reshape (w3_flat, as_w3)
    b1 = Unsqueeze (b1_flat, axis2)
    b2 = Unsqueeze (b2_flat, axis2)
    b3 = Unsqueeze (b3_flat, axis2)
    w1_place = Slice (w1, axis0, at2, axis2)
    w1_features = Slice (w1, at2, rest, axis2)
    s8 = Constant <value = int64 {8}> ()
    s16 = Constant <value = int64 {16}> ()
    s32 = Constant <value = int64 {32}> ()
    on_fine = Less (kept_point, end0)
    on_middle = Less (kept_point, end1)
    coarse_stride = Where (on_middle, s16, s32)
    point_stride = Where (on_fine, s8, coarse_stride)
    coarse_start = Where (on_middle, end0, end1)
    point_start = Where (on_fine, zero, coarse_start)
    coarse_width = Where (on_middle, width_1, width_2)
    point_width = Where (on_fine, width_0, coarse_width)
    in_level = Sub (kept_point, point_start)
    row = Div (in_level, point_width)
    row_start = Mul (row, point_width)
    column = Sub (in_level, row_start)
    cell_xy = Concat <axis = 1> (column, row)
    point_int = Mul (cell_xy, point_stride)
    point = Cast <to = 1> (point_int)
    reach_int = Mul (point_stride, s8)
    reach = Cast <to = 1> (reach_int)
    reach3 = Unsqueeze (reach, axis2)
    toward = Div (w1_place, reach3)
    point3 = Unsqueeze (point, axis2)
    from_point = MatMul (toward, point3)
    bias1 = Add (b1, from_point)
    feature_shape = Shape (mask_features)
    map_size = Slice (feature_shape, at2, at4)
    own_features = GatherND (mask_features, kept_image)
    map_height = Slice (map_size, axis0, axis1)
    map_width = Slice (map_size, axis1, at2)
    area = Mul (map_height, map_width)
    minus1 = Constant <value = int64[1] {-1}> ()
    eight = Constant <value = int64[1] {8}> ()
    features_shape = Concat <axis = 0> (minus1, eight, area)
    features = Reshape (own_features, features_shape)
    map_height0 = Squeeze (map_height, axis0)
    map_width0 = Squeeze (map_width, axis0)
    ys = Range (zero, map_height0, one)
    xs = Range (zero, map_width0, one)
    ys_pixels = Mul (ys, s8)
    xs_pixels = Mul (xs, s8)
    ys_column = Unsqueeze (ys_pixels, axis1)
    ys_map = Expand (ys_column, map_size)
    xs_map = Expand (xs_pixels, map_size)
    ys_flat = Reshape (ys_map, minus1)
    xs_flat = Reshape (xs_map, minus1)
    ys_row = Unsqueeze (ys_flat, axis0)
    xs_row = Unsqueeze (xs_flat, axis0)
    cells_int = Concat <axis = 0> (xs_row, ys_row)
    cells = Cast <to = 1> (cells_int)
    away = Neg (toward)
    by_place = MatMul (away, cells)
    by_features = MatMul (w1_features, features)
    sum1 = Add (by_place, by_features)
    biased1 = Add (sum1, bias1)
    layer1 = Relu (biased1)
    product2 = MatMul (w2, layer1)
    biased2 = Add (product2, b2)
    layer2 = Relu (biased2)
    product3 = MatMul (w3, layer2)
    biased3 = Add (product3, b3)
    map_shape = Concat <axis = 0> (minus1, map_size)
    kept_masks = Reshape (biased3, map_shape)
    masks_shape = Concat <axis = 0> (table, map_size)
    masks_empty = ConstantOfShape <value = float[1] {0.0}> (masks_shape)
    masks = ScatterND (masks_empty, cell, kept_masks)
"""


def postprocessing_graph(task: TaskName, config: TestConfig) -> onnx.ModelProto:
    """Returns the graph from raw dense heads to detections; ``config`` must be resolved."""
    import onnx

    masks = "masks" in spec_of(task).found_outputs
    inputs = "uint8[B, 3, H, W] images, float[B, P, C] logits, float[B, P, 4] boxes"
    outputs = "float[B, N, 5] dets, int64[B, N] labels"
    if masks:
        inputs += ", float[B, P, 169] kernels, float[B, 8, FH, FW] mask_features"
        outputs += ", float[B, N, FH, FW] masks"
    body = [
        CONSTANTS,
        f"""
    least_score = Constant <value = float {{{_at_most(config.score_threshold)!r}}}> ()
    nms_iou = Constant <value = float {{{_at_most(config.nms_iou)!r}}}> ()
    per_level = Constant <value = int64[1] {{{config.max_per_level}}}> ()
    probabilities = Sigmoid (logits)""",
        SIZES,
        *(_level(number, stride) for number, stride in enumerate(STRIDES)),
        "    passed = Concat <axis = 1> (passed0, passed1, passed2)",
        CLIPPED,
        CHOSEN.replace("MAX_PER_IMAGE", str(config.max_per_image)),
        MASKS if masks else "",
    ]
    text = f'<ir_version: 9, opset_import: ["": {OPSET}]>\npost ({inputs}) => ({outputs}) {{{"".join(body)}}}'
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model)
    return model


def _level(number: int, stride: int) -> str:
    """Returns the text that gives ``passedN``: a level's scores, 0 where it has ``max_per_level`` better ones.

    Where no image has that many above the threshold, as for any trained network, nothing is sorted.
    """
    start = "zero" if number == 0 else f"end{number - 1}"
    return f"""
    stride{number} = Constant <value = int64[1] {{{stride}}}> ()
    stride{number}_less = Constant <value = int64[1] {{{stride - 1}}}> ()
    height{number}_up = Add (height1, stride{number}_less)
    height_{number} = Div (height{number}_up, stride{number})
    width{number}_up = Add (width1, stride{number}_less)
    width_{number} = Div (width{number}_up, stride{number})
    area{number} = Mul (height_{number}, width_{number})
    end{number} = Add ({start}, area{number})
    start{number} = Sub (end{number}, area{number})
    level{number} = Slice (probabilities, start{number}, end{number}, axis1)
    above{number} = Greater (level{number}, least_score)
    above{number}_int = Cast <to = 7> (above{number})
    axes12_{number} = Constant <value = int64[2] {{1, 2}}> ()
    per_image{number} = ReduceSum <keepdims = 0> (above{number}_int, axes12_{number})
    fullest{number} = ReduceMax <keepdims = 0> (per_image{number}, axis0)
    limit{number} = Squeeze (per_level, axis0)
    crowded{number} = Greater (fullest{number}, limit{number})
    passed{number} = If (crowded{number}) <
        then_branch = crowd{number} () => (float[B, P{number}, C] then{number}) {{
            each{number} = Constant <value = int64[2] {{0, -1}}> ()
            flat{number} = Reshape (level{number}, each{number})
            flat_shape{number} = Shape (flat{number})
            flat_size{number} = Slice (flat_shape{number}, axis1, at2)
            count{number} = Min (per_level, flat_size{number})
            best{number}, best_index{number} = TopK <axis = 1> (flat{number}, count{number})
            last{number} = ReduceMin <keepdims = 1> (best{number}, axis1)
            last3_{number} = Unsqueeze (last{number}, axis2)
            keep{number} = GreaterOrEqual (level{number}, last3_{number})
            then{number} = Where (keep{number}, level{number}, nothing)
        }},
        else_branch = few{number} () => (float[B, P{number}, C] else{number}) {{
            else{number} = Identity (level{number})
        }}
    >
"""


def _at_most(limit: float) -> float:
    """Returns the largest float32 not above ``limit``: what exceeds the one exceeds the other."""
    value = np.float32(limit)
    return float(value if value <= limit else np.nextafter(value, np.float32(0)))
