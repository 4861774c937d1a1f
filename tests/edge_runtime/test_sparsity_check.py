"""Sparse constants whose values lie elsewhere are refused; LiteRT 2.3 dies of some of these, or writes beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge_runtime import ArtifactError
from edge_runtime._graph_check import check_dataflow
from tests.edge_runtime import unusual_models


def changed(change: Callable[[Any], object], dtype: str = "float32") -> bytes:
    """Return the network of sparse weights with a change of how they are stored: a row each, a column in each."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(unusual_models.sparse(dtype)))
    change(model.subgraphs[0].tensors[unusual_models.WEIGHTS])
    return unusual_models.packed(model)


def columns(name: str, values: list[int]) -> Callable[[Any], None]:
    return lambda tensor: setattr(getattr(tensor.sparsity.dimMetadata[1], name), "values", values)


def dimension(number: int, name: str, value: int) -> Callable[[Any], None]:
    return lambda tensor: setattr(tensor.sparsity.dimMetadata[number], name, value)


def whole(name: str, value: list[int]) -> Callable[[Any], None]:
    return lambda tensor: setattr(tensor.sparsity, name, value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (columns("arrayIndices", [0, 1, 3]), r"indices 0 to 3 of 3"),
        (columns("arrayIndices", [0, 1, -1]), r"indices -1 to 1 of 3"),
        (columns("arrayIndices", [0, 1]), r"segments \(0, 3, 4\) for 2 indices"),
        (columns("arraySegments", [0, 1, 2, 9]), r"segments \(0, 9, 4\) for 3 indices"),
        (columns("arraySegments", [0, 2, 1, 3]), r"segments \(0, 3, 4\)"),
        (columns("arraySegments", [0, 3]), r"segments \(0, 3, 2\) for 3 indices in 3"),
        (columns("arraySegments", []), r"segments \(\) for 3 indices"),
        (dimension(1, "format", schema.DimensionType.DENSE), r"segments"),
        (dimension(1, "format", 7), r"segments"),
        (dimension(0, "denseSize", 65535), r"segments \(\) for 0 indices"),
        (whole("traversalOrder", [0, 0]), r"2 dimensions lists 2, in the order \(0, 0\)"),
        (whole("traversalOrder", [0]), r"2 dimensions lists 2, in the order \(0,\)"),
        (whole("blockMap", [5]), r"2 dimensions lists 2"),
        (lambda tensor: setattr(tensor, "shape", np.array([3, 2], np.int32)), r"indices 0 to 2 of 2"),
        (lambda tensor: setattr(tensor, "type", schema.TensorType.INT64), r"3 values, and 12 bytes of type 4"),
        (lambda tensor: setattr(tensor, "type", schema.TensorType.INT8), r"3 values, and 12 bytes of type 9"),
    ],
)  # fmt: skip
def test_places_that_do_not_hold_together_are_refused(change: Callable[[Any], object], complaint: str) -> None:
    with pytest.raises(ArtifactError, match=f"its graph does not hold together: a sparse constant .*{complaint}"):
        check_dataflow(changed(change))


def blocks(columns_a_block: int) -> Callable[[Any], None]:
    """Return what stores the rows in blocks of columns, of which only the first of the first row is not zero."""

    def change(tensor: Any) -> None:
        inner = schema.DimensionMetadataT()
        inner.format, inner.denseSize = schema.DimensionType.DENSE, columns_a_block
        outer = tensor.sparsity.dimMetadata[1]
        outer.arraySegments.values, outer.arrayIndices.values = [0, 1, 1, 1], [0]
        tensor.sparsity.traversalOrder, tensor.sparsity.blockMap = [0, 1, 2], [1]
        tensor.sparsity.dimMetadata.append(inner)

    return change


def test_blocks_divide_their_dimension() -> None:
    check_dataflow(changed(blocks(3)))
    with pytest.raises(ArtifactError, match="a sparse constant has blocks of 2 in 3"):
        check_dataflow(changed(blocks(2)))
    with pytest.raises(ArtifactError, match="a sparse constant has blocks of 0 in 3"):
        check_dataflow(changed(blocks(0)))


def test_narrow_indices_are_read_as_narrow() -> None:
    def change(tensor: Any) -> None:
        level = tensor.sparsity.dimMetadata[1]
        level.arraySegments, level.arrayIndices = schema.Uint8VectorT(), schema.Uint16VectorT()
        level.arraySegments.values, level.arrayIndices.values = [0, 1, 2, 3], [0, 1, 2]
        level.arraySegmentsType = schema.SparseIndexVector.Uint8Vector
        level.arrayIndicesType = schema.SparseIndexVector.Uint16Vector

    check_dataflow(changed(change))
    check_dataflow(changed(lambda _: None, "float16"))
