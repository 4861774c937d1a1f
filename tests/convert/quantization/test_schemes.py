"""The table of schemes, and which ends go with which."""

from __future__ import annotations

import subprocess
import sys

import pytest

from convert.errors import QuantizationError
from convert.quantization.schemes import IO_CHOICES, SCHEMES, check_io, parse_schemes, unrecovered
from edge_runtime.probe import INT8_SCHEMES


def names(text: str) -> list[str]:
    return [scheme.name for scheme in parse_schemes(text)]


def test_the_contracted_schemes_are_there() -> None:
    assert set(SCHEMES) >= {"none", "float16", "dynamic", "int8", "int16x8"}
    assert all(name == scheme.name and scheme.summary for name, scheme in SCHEMES.items())


def test_integer_activations_need_calibration() -> None:
    assert [name for name, scheme in SCHEMES.items() if scheme.calibrates] == ["int8", "mixed", "int16x8"]


def test_the_device_knows_which_networks_are_int8_behind_any_input() -> None:
    assert tuple(name for name, scheme in SCHEMES.items() if scheme.activation_bits == 8) == INT8_SCHEMES


def test_a_fallback_is_the_same_scheme_with_layers_in_float() -> None:
    pairs = [(scheme, SCHEMES[scheme.fallback]) for scheme in SCHEMES.values() if scheme.fallback]
    assert [(scheme.name, fallback.name) for scheme, fallback in pairs] == [("int8", "mixed")]
    for scheme, fallback in pairs:
        assert fallback.keeps_layers
        assert fallback.rules == scheme.rules
        assert unrecovered(fallback) == unrecovered(scheme) == scheme


def test_lists_keep_their_order_and_name_each_once() -> None:
    assert names("int8") == ["int8"]
    assert names(" none , int8,none,,float16 ") == ["none", "int8", "float16"]


@pytest.mark.parametrize(("text", "named"), [("int7", "'int7'"), ("int8,INT8", "'INT8'"), ("int8;none", "'int8;none'")])
def test_an_unknown_scheme_is_named_beside_the_known_ones(text: str, named: str) -> None:
    with pytest.raises(QuantizationError, match=f"scheme {named} is unknown: choose from none, float16, dynamic"):
        parse_schemes(text)


def test_int4_is_refused_with_the_reason() -> None:
    with pytest.raises(QuantizationError, match="int4 is not offered: XNNPACK runs no convolution"):
        parse_schemes("int8,int4")


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_no_scheme_is_refused(text: str) -> None:
    with pytest.raises(QuantizationError, match="no scheme"):
        parse_schemes(text)


def test_each_scheme_can_have_its_own_ends() -> None:
    for scheme in SCHEMES.values():
        assert scheme.io in IO_CHOICES
        assert check_io(scheme, None) == check_io(scheme, scheme.io) == scheme.io
        assert check_io(scheme, "float32") == "float32"


@pytest.mark.parametrize("io", ["uint8", "int8"])
def test_integer_ends_need_8_bit_activations(io: str) -> None:
    assert check_io(SCHEMES["int8"], io) == io
    for name in ("none", "float16", "dynamic", "int16x8"):
        with pytest.raises(QuantizationError, match=f"--io {io} needs 8-bit activations, scheme {name} has none"):
            check_io(SCHEMES[name], io)


def test_schemes_are_data_that_needs_no_tensorflow() -> None:
    code = "import sys, convert.quantization.schemes; "
    code += "assert not {'tensorflow', 'keras', 'litert_quantizer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
