"""Sparse constants, checked against LiteRT's own DENSIFY and against matrices that scipy stores."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse as scipy_sparse

from convert.tflite.graph import TfliteGraph
from convert.tflite.sparse import Layout, Level, densified
from convert.tflite.subgraphs import JoinedGraph
from edge_runtime.arrays import Array
from tests.edge_runtime import unusual_models

BLOCK = 4


@given(arrays(np.int8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.sampled_from([0, 0, 1, -3])))
def test_rows_are_stored_as_scipy_stores_them(matrix: Array) -> None:
    stored = scipy_sparse.csr_array(matrix)
    layout = Layout((0, 1), (), (Level(len(matrix)), Level(0, stored.indptr, stored.indices)))
    assert densified(stored.data, layout, matrix.shape).tolist() == matrix.tolist()


def test_blocks_are_stored_as_scipy_stores_them() -> None:
    """As converters store dense operators: blocks of one row and four columns."""
    random = np.random.default_rng(3)
    matrix = np.kron(random.integers(0, 2, (5, 3)), np.ones((1, BLOCK))) * random.normal(size=(5, 3 * BLOCK))
    stored = scipy_sparse.bsr_array(matrix, blocksize=(1, BLOCK))
    levels = (Level(5), Level(0, stored.indptr, stored.indices), Level(BLOCK))
    values = stored.data.reshape(-1)
    assert densified(values, Layout((0, 1, 2), (1,), levels), matrix.shape).tolist() == matrix.tolist()


def test_dimensions_may_be_traversed_in_another_order() -> None:
    values = np.arange(6)
    layout = Layout((1, 0), (), (Level(3), Level(2)))
    assert densified(values, layout, (2, 3)).tolist() == values.reshape(3, 2).T.tolist()


def test_a_constant_of_a_file_is_read_with_its_zeros() -> None:
    """LiteRT answers with these weights what it answers with the identity: `test_graph_check`."""
    graph = JoinedGraph(unusual_models.sparse())
    assert graph.constant(unusual_models.WEIGHTS).tolist() == np.eye(3).tolist()
    assert TfliteGraph(unusual_models.sparse("float16")).constant(unusual_models.WEIGHTS).tolist() == np.eye(3).tolist()
