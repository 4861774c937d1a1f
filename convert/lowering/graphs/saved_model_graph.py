"""A SavedModel's graph, read before TensorFlow runs any of it: its signature, and the operators that an answer needs.

A SavedModel is a program: among TensorFlow's operators are some that read and write files, call Python, or open
connections. Those that image classifiers are made of are listed here; a graph with any other is not run.
What Keras leaves of training in a graph is taken out first, and TensorFlow is given a copy without.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import SourceError
from convert.lowering.graphs.saved_model_training import RANDOM, REMOVED, called_functions, take_out_training

GRAPH, HUB_MODULE = "saved_model.pb", "tfhub_module.pb"
SERVING, TAG = "serving_default", "serve"
NOT_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")
VALUES = ("variable", "constant")
"""Kinds of objects that hold numbers; TF 2.9 registers its constants by a name of their own."""
OPERATORS = frozenset(
    re.findall(
        r"\w+",
        """
    Abs Add AddN AddV2 All Any ArgMax Assert AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd
    BroadcastArgs BroadcastTo Cast Ceil ClipByValue Concat ConcatV2 Const Conv2D Conv2DBackpropInput Cos Cumsum
    DepthToSpace DepthwiseConv2dNative Div DivNoNan Einsum Elu EnsureShape Equal Erf Erfc Exp ExpandDims
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN L2Loss LeakyRelu Less
    LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr LogSoftmax LRN MatMul Max Maximum MaxPool MaxPoolV2 Mean Min
    Minimum MirrorPad Mul MulNoNan Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2 ParallelConcat PartitionedCall
    Placeholder PlaceholderWithDefault Pow PreventGradient Prod Range Rank ReadVariableOp RealDiv Reciprocal Relu
    Relu6 Reshape ResizeBicubic ResizeBilinear ResizeNearestNeighbor ResourceGather Reverse ReverseV2 Rint Round
    Rsqrt Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Size Slice Snapshot Softmax Softplus Softsign
    SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall
    StatelessIf StatelessWhile StopGradient StridedSlice Sub Sum Tanh Tile TopKV2 Transpose TruncateDiv Unpack
    VarHandleOp Where Xlogy ZerosLike
    """,
    )
)
"""Operators of TensorFlow that compute numbers from numbers, variables and constants, and touch nothing else."""


@dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel: its name, its only input and its only output.

    `shape` of the input has -1 for what is open; `version` is that of the TensorFlow that saved it; `augmentation` are
    the names of the layers that `loadable` leaves out.
    """

    name: str
    argument: str
    shape: tuple[int, ...]
    dtype: str
    result: str
    version: str
    augmentation: tuple[str, ...] = ()


def read_signature(folder: Path) -> Signature:
    """Return the signature of a SavedModel by which images are classified; nothing of its graph is run.

    Raises:
        SourceError: it is damaged, of TensorFlow 1, has no such signature, or operators that are not listed here.
    """
    graph = _serving_graph(_message(folder), folder)
    name, signature = _chosen(graph.signature_def, folder)
    ((argument, given),) = _only(signature.inputs, "inputs", name, folder)
    ((result, _),) = _only(signature.outputs, "outputs", name, folder)
    augmentation = _without_training(graph, name, folder)
    if given.tensor_shape.unknown_rank:
        raise SourceError(f"{folder} takes inputs of any shape: save it with an input of (None, height, width, 3)")
    shape = tuple(int(axis.size) for axis in given.tensor_shape.dim)
    version = str(graph.meta_info_def.tensorflow_version)
    return Signature(name, argument, shape, _dtype(given), result, version, tuple(augmentation))


@contextmanager
def loadable(folder: Path, signature: str) -> Iterator[Path]:
    """Yield a SavedModel with the same signatures that is without augmentation and an optimizer's moments.

    Today's TensorFlow no longer has the optimizers that TensorFlow up to 2.10 saved, and cannot load those moments.
    """
    saved = _message(folder)
    before = saved.SerializeToString(deterministic=True)
    _without_training(_serving_graph(saved, folder), signature, folder)
    for graph in saved.meta_graphs:
        for node in graph.object_graph_def.nodes:
            del node.slot_variables[:]
    if saved.SerializeToString(deterministic=True) == before:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="without_training_", ignore_cleanup_errors=True) as name:
        copy = Path(name)
        (copy / GRAPH).write_bytes(saved.SerializeToString())
        for part in ("variables", "assets"):
            (copy / part).symlink_to((folder / part).absolute())
        yield copy


def _serving_graph(saved: Any, folder: Path) -> Any:
    """Return the graph that is for serving, as TensorFlow's message `MetaGraphDef`."""
    if (folder / HUB_MODULE).exists():
        raise SourceError(
            f"{folder} is a module of TensorFlow Hub's first format, which is not supported: load it where TensorFlow "
            "Hub runs, and save the classifier with tf.saved_model.save(model, FOLDER)"
        )
    graph = next((graph for graph in saved.meta_graphs if TAG in graph.meta_info_def.tags), None)
    if graph is None:
        raise SourceError(f"{folder} has no graph for serving: save it with tf.saved_model.save(model, FOLDER)")
    if not graph.HasField("object_graph_def"):
        raise SourceError(
            f"{folder} was saved by TensorFlow 1, whose graphs are not supported: load it there, build the network in "
            "Keras, and save that with its weights"
        )
    return graph


def _message(folder: Path) -> Any:
    """Return a SavedModel's file as TensorFlow's message."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = folder / GRAPH
    try:
        return SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise SourceError(f"{path} is damaged ({error}): save the model again") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}; check its permissions") from error


def _chosen(signatures: Any, folder: Path) -> tuple[str, Any]:
    """Return name and definition of `serving_default`, or else of the only signature."""
    named = {name: signatures[name] for name in sorted(signatures) if name not in NOT_SIGNATURES}
    if SERVING in named:
        return SERVING, named[SERVING]
    if len(named) == 1:
        return next(iter(named.items()))
    listed = f"{len(named)} signatures ({', '.join(named)}), none of them" if named else "no signature, not even"
    raise SourceError(
        f"{folder} has {listed} {SERVING}: save it with "
        f"tf.saved_model.save(model, FOLDER, signatures={{{SERVING!r}: FUNCTION}})"
    )


def _only(ends: Any, kind: str, signature: str, folder: Path) -> list[tuple[str, Any]]:
    """Return inputs or outputs of a signature if there is exactly one."""
    if len(ends) != 1:
        raise SourceError(
            f"{folder} has {len(ends)} {kind} ({', '.join(sorted(ends))}) in its signature {signature}: an image "
            "classifier has one"
        )
    return [(name, ends[name]) for name in ends]


def _dtype(given: Any) -> str:
    from tensorflow import dtypes

    return str(dtypes.as_dtype(given.dtype).name)


def _without_training(graph: Any, signature: str, folder: Path) -> list[str]:
    """Take what is left of training out of a graph; return the names of the layers of augmentation that went.

    Before, it may have operators of both lists, afterwards only those of classifiers. What runs is the signature's
    function and those that it calls. The functions that store variables, which TensorFlow writes into every SavedModel,
    are not called: a loader reads variables by itself.

    Raises:
        SourceError: it would run an operator that is not listed, or what was taken out may count.
    """
    library = {function.signature.name: function for function in graph.graph_def.library.function}
    roots, layers = _roots(graph.object_graph_def, signature), list[str]()
    _refuse_resources(graph, folder)
    if not roots <= library.keys() or not roots:
        raise SourceError(f"{folder} is damaged: its signature {signature} has no function; save the model again")
    _refuse_unlisted(_reachable(roots, library), OPERATORS | REMOVED | library.keys(), folder)
    if any(node.op in REMOVED for node in _reachable(roots, library)):
        try:
            layers = take_out_training(library, _functions(roots, library))
        except SourceError as error:
            raise SourceError(f"{folder}{error}") from error
    _refuse_unlisted(_reachable(roots, library), OPERATORS | library.keys(), folder)
    return layers


def _refuse_resources(graph: Any, folder: Path) -> None:
    """Refuse a graph with resources, such as tables: loading runs their functions, and no others."""
    for node in graph.object_graph_def.nodes:
        kind, restores_itself = node.WhichOneof("kind"), bool(node.saveable_objects or node.registered_name)
        if kind == "resource" or (restores_itself and kind not in VALUES):
            raise SourceError(
                f"{folder} is not run: it has a table or another resource beside its variables, which would run code "
                "when it is loaded; save the classifier alone"
            )


def _refuse_unlisted(nodes: Iterable[Any], listed: Set[str], folder: Path) -> None:
    """Refuse nodes with an operator that is not listed."""
    for node in nodes:
        if node.op in RANDOM - listed:
            raise SourceError(
                f"{folder} gives other answers each time: it draws random numbers ({node.name}), as in training; pass "
                "the Keras file of the model, or export it without layers of augmentation"
            )
        if node.op not in listed:
            raise SourceError(
                f"{folder} is not run: its graph has the operator {node.op} ({node.name}), which is none of those that "
                "image classifiers are computed with; save the classifier alone"
            )


def _roots(objects: Any, signature: str) -> set[str]:
    """Return the names of the functions behind a signature: one, unless somebody tries to hide another behind it."""
    nodes = [objects.nodes[0]]
    for name in ("signatures", signature):
        found = {child.node_id for node in nodes for child in node.children if child.local_name == name}
        nodes = [objects.nodes[number] for number in found if 0 <= number < len(objects.nodes)]
    functions = {name for node in nodes for name in node.function.concrete_functions}
    return (functions | {node.bare_concrete_function.concrete_function_name for node in nodes}) - {""}


def _functions(roots: set[str], library: Mapping[str, Any]) -> list[str]:
    """Return the names of functions and of those that they call, however deeply."""
    pending, found = sorted(roots & library.keys()), list[str]()
    while pending:
        name = pending.pop()
        found.append(name)
        called = {each for node in library[name].node_def for each in called_functions(node, library)}
        pending += sorted(called - {*found, *pending})
    return found


def _reachable(roots: set[str], library: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the nodes of functions and of those that they call, however deeply."""
    for name in _functions(roots, library):
        yield from library[name].node_def
