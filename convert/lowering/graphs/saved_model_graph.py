"""A SavedModel's graph, read before TensorFlow runs any of it: its signature, and the operators that an answer needs.

A SavedModel is a program: among TensorFlow's operators are some that read and write files, call Python, or open
connections. Those that image classifiers are made of are listed here; a graph with any other is not run.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import SourceError

GRAPH, HUB_MODULE = "saved_model.pb", "tfhub_module.pb"
SERVING, TAG = "serving_default", "serve"
NOT_SIGNATURES = ("__saved_model_init_op", "__saved_model_train_op")
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

    `shape` of the input has -1 for what is open; `version` is that of the TensorFlow that saved it.
    """

    name: str
    argument: str
    shape: tuple[int, ...]
    dtype: str
    result: str
    version: str


def read_signature(folder: Path) -> Signature:
    """Return the signature of a SavedModel by which images are classified; nothing of its graph is run.

    Raises:
        SourceError: it is damaged, of TensorFlow 1, has no such signature, or operators that are not listed here.
    """
    graph = _serving_graph(folder)
    name, signature = _chosen(graph.signature_def, folder)
    ((argument, given),) = _only(signature.inputs, "inputs", name, folder)
    ((result, _),) = _only(signature.outputs, "outputs", name, folder)
    _refuse_unlisted(graph, name, folder)
    if given.tensor_shape.unknown_rank:
        raise SourceError(f"{folder} takes inputs of any shape: save it with an input of (None, height, width, 3)")
    shape = tuple(int(axis.size) for axis in given.tensor_shape.dim)
    return Signature(name, argument, shape, _dtype(given), result, graph.meta_info_def.tensorflow_version)


@contextmanager
def without_optimizer(folder: Path) -> Iterator[Path]:
    """Yield a SavedModel with the same signatures, whose optimizer does not want its moments back.

    Today's TensorFlow no longer has the optimizers that TensorFlow up to 2.10 saved, and cannot load those moments.
    """
    saved = _message(folder)
    trained = [node for graph in saved.meta_graphs for node in graph.object_graph_def.nodes if node.slot_variables]
    if not trained:
        yield folder
        return
    for node in trained:
        del node.slot_variables[:]
    with tempfile.TemporaryDirectory(prefix="without_optimizer_", ignore_cleanup_errors=True) as name:
        copy = Path(name)
        (copy / GRAPH).write_bytes(saved.SerializeToString())
        for part in ("variables", "assets"):
            (copy / part).symlink_to((folder / part).absolute())
        yield copy


def _serving_graph(folder: Path) -> Any:
    """Return the graph that is for serving, as TensorFlow's message `MetaGraphDef`."""
    if (folder / HUB_MODULE).exists():
        raise SourceError(
            f"{folder} is a module of TensorFlow Hub's first format, which is not supported: load it where TensorFlow "
            "Hub runs, and save the classifier with tf.saved_model.save(model, FOLDER)"
        )
    graph = next((graph for graph in _message(folder).meta_graphs if TAG in graph.meta_info_def.tags), None)
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
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error


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


def _refuse_unlisted(graph: Any, signature: str, folder: Path) -> None:
    """Refuse a graph that would run an operator that is not listed, when it is loaded or when it answers.

    What runs is the signature's function and those that it calls. Loading runs nothing but the functions of resources,
    such as tables, so a graph with resources is refused. The functions that store variables, which TensorFlow writes
    into every SavedModel, are not called: a loader reads variables by itself.
    """
    for node in graph.object_graph_def.nodes:
        kind, restores_itself = node.WhichOneof("kind"), bool(node.saveable_objects or node.registered_name)
        if kind == "resource" or (restores_itself and kind != "variable"):
            raise SourceError(
                f"{folder} is not run: it has a table or another resource beside its variables, which would run code "
                "when it is loaded; save the classifier alone"
            )
    library = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    roots = _roots(graph.object_graph_def, signature)
    if not roots <= library.keys() or not roots:
        raise SourceError(f"{folder} is damaged: its signature {signature} has no function; save the model again")
    for node in _reachable(roots, library):
        if node.op not in OPERATORS and node.op not in library:
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


def _reachable(roots: set[str], library: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the nodes of functions and of those that they call, however deeply."""
    pending, seen = sorted(roots), set(roots)
    while pending:
        for node in library.get(pending.pop(), ()):
            yield node
            called = {
                node.op,
                *(function.name for attr in node.attr.values() for function in (attr.func, *attr.list.func)),
            }
            new = (called & library.keys()) - seen
            seen |= new
            pending += sorted(new)
