"""A SavedModel's graph, read before TensorFlow runs any of it: its signature, and the operators that an answer needs.

A SavedModel is a program: among TensorFlow's operators are some that read and write files, call Python, or open
connections. Those that image classifiers are made of are listed here; a graph with any other is not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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


def _serving_graph(folder: Path) -> Any:
    """Return the graph that is for serving, as TensorFlow's message `MetaGraphDef`."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    if (folder / HUB_MODULE).exists():
        raise SourceError(
            f"{folder} is a module of TensorFlow Hub's first format, which is not supported: load it where TensorFlow "
            "Hub runs, and save the classifier with tf.saved_model.save(model, FOLDER)"
        )
    path = folder / GRAPH
    try:
        graphs = SavedModel.FromString(path.read_bytes()).meta_graphs
    except DecodeError as error:
        raise SourceError(f"{path} is damaged ({error}): save the model again") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    graph = next((graph for graph in graphs if TAG in graph.meta_info_def.tags), None)
    if graph is None:
        raise SourceError(f"{folder} has no graph for serving: save it with tf.saved_model.save(model, FOLDER)")
    if not graph.HasField("object_graph_def"):
        raise SourceError(
            f"{folder} was saved by TensorFlow 1, whose graphs are not supported: load it there, build the network in "
            "Keras, and save that with its weights"
        )
    return graph


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
        is_variable = node.WhichOneof("kind") == "variable"
        if node.WhichOneof("kind") == "resource" or (node.saveable_objects and not is_variable):
            raise SourceError(
                f"{folder} is not run: it has a table or another resource beside its variables, which would run code "
                "when it is loaded; save the classifier alone"
            )
    library = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    for node in _reachable(_root(graph.object_graph_def, signature), library):
        if node.op not in OPERATORS and node.op not in library:
            raise SourceError(
                f"{folder} is not run: its graph has the operator {node.op} ({node.name}), which is none of those that "
                "image classifiers are computed with; save the classifier alone"
            )


def _root(objects: Any, signature: str) -> str:
    """Return the name of the function behind a signature; "" if there is none."""
    node = objects.nodes[0]
    for name in ("signatures", signature):
        children = {child.local_name: child.node_id for child in node.children}
        if name not in children:
            return ""
        node = objects.nodes[children[name]]
    functions = (*node.function.concrete_functions, node.bare_concrete_function.concrete_function_name)
    return str(next(filter(None, functions), ""))


def _reachable(root: str, library: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the nodes of a function and of those that it calls, however deeply."""
    pending, seen = [root], {root}
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
