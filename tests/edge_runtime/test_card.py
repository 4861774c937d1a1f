"""The card says what was written, or says that it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edge_runtime import ArtifactError, Card, InputSpec
from edge_runtime.probe import Probe
from edge_runtime.specs import TensorSpec
from tests.edge_runtime.tiny_model import tiny_artifact


def a_card(**changes: Any) -> Card:
    return replace(tiny_artifact().card, **changes).signed()


def rewritten(card: Card, **changes: Any) -> bytes:
    """Return the card's JSON with keys changed and its hash left as it was."""
    return json.dumps({**json.loads(card.to_bytes()), **changes}).encode()


def test_a_card_survives_its_bytes() -> None:
    card = a_card(
        input=TensorSpec("image", "uint8", 1 / 127.5, 128, "pixels"),
        calibration={"images": 100},
        drift={"top1_drop_pp": 0.1},
        name="größe",
    )
    assert Card.from_bytes(card.to_bytes()) == card


def test_a_card_with_a_probe_survives_its_bytes() -> None:
    card = a_card(probe=Probe((0.1, 0.7, 0.2)))
    assert Card.from_bytes(card.to_bytes()) == card
    with pytest.raises(ArtifactError, match="checksum of the card"):
        Card.from_bytes(rewritten(card, probe=vars(Probe((0.1, 0.6, 0.3)))))


def test_a_card_from_before_there_were_probes_keeps_its_checksum() -> None:
    card = a_card()
    assert b"probe" not in card.to_bytes()
    assert Card.from_bytes(card.to_bytes()).probe is None


def test_the_same_card_has_the_same_bytes() -> None:
    assert a_card(versions={"a": "1", "b": "2"}).to_bytes() == a_card(versions={"b": "2", "a": "1"}).to_bytes()


def test_whole_numbers_in_the_preprocessing_keep_the_checksum() -> None:
    card = a_card(preprocessing=InputSpec(8, 8, mean=(0, 0, 0), std=(1, 1, 1), crop_fraction=1))
    assert Card.from_bytes(card.to_bytes()) == card


@pytest.mark.parametrize(
    "change", [{"scheme": "int8"}, {"note": "new key"}, {"drift": {"agreement_top1": 1.0}}, {"minimum_runtime": None}]
)
def test_a_changed_card_is_noticed(change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"checksum of the card|not a card of this project"):
        Card.from_bytes(rewritten(a_card(), **change))


def test_a_card_without_its_own_hash_is_noticed() -> None:
    with pytest.raises(ArtifactError, match="checksum of the card does not match"):
        Card.from_bytes(replace(a_card(), sha256={}).to_bytes())


def test_a_card_of_another_version_asks_for_a_newer_runtime() -> None:
    with pytest.raises(ArtifactError, match=r"card version 9 is none of \(1, 2, 3, 4\): update the runtime"):
        Card.from_bytes(rewritten(a_card(), card_version=9))


@pytest.mark.parametrize("geometry", [{"fit": "crop"}, {"fit": "pad", "pad_color": (9,)}, {"resize": "tf-bicubic"}])
def test_geometry_is_a_version_that_older_runtimes_refuse(geometry: dict[str, Any]) -> None:
    """They ask for version 3 at most."""
    card = a_card(preprocessing=InputSpec(8, 8, (0, 0, 0), (1, 1, 1), decode="scaled", **geometry))
    written = json.loads(card.to_bytes())
    assert written["card_version"] == 4
    assert Card.from_bytes(card.to_bytes()) == card
    assert not {"fit", "fit_as", "pad_color"} & json.loads(a_card().to_bytes())["preprocessing"].keys()
    with pytest.raises(ArtifactError, match="version 3 for a card of version 4"):
        Card.from_bytes(rewritten(card, card_version=3))


def test_grey_images_are_a_version_that_older_runtimes_refuse() -> None:
    card = a_card(preprocessing=InputSpec(8, 8, (0,), (255,), channels=1))
    written = json.loads(card.to_bytes())
    assert (written["card_version"], written["preprocessing"]["channels"]) == (3, 1)
    assert Card.from_bytes(card.to_bytes()) == card
    assert "channels" not in json.loads(a_card().to_bytes())["preprocessing"]


def test_decoding_at_a_fraction_is_a_version_that_older_runtimes_refuse() -> None:
    card = a_card(preprocessing=InputSpec(8, 8, (0, 0, 0), (1, 1, 1), decode="scaled"))
    written = json.loads(card.to_bytes())
    assert (written["card_version"], written["preprocessing"]["decode"]) == (2, "scaled")
    assert Card.from_bytes(card.to_bytes()) == card


def test_a_card_from_before_there_was_a_choice_keeps_its_version_and_checksum() -> None:
    written = json.loads(a_card().to_bytes())
    assert (written["card_version"], "decode" in written["preprocessing"]) == (1, False)
    assert Card.from_bytes(a_card().to_bytes()).preprocessing.decode == "full"


@pytest.mark.parametrize(("version", "decode"), [(1, "scaled"), (2, "full")])
def test_a_card_that_is_not_of_the_version_it_names_is_refused(version: int, decode: str) -> None:
    card = a_card(preprocessing=InputSpec(8, 8, (0, 0, 0), (1, 1, 1), decode=decode))
    with pytest.raises(ArtifactError, match=f"not a card of this project.*version {version}"):
        Card.from_bytes(rewritten(card, card_version=version))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"7", b"null", b"\xff\xfe", b"[" * 10**5, b'{"card_version": 1}'])
def test_what_is_no_card_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="not a card of this project"):
        Card.from_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": 0},
        {"classes": "three"},
        {"input": None},
        {"input": {"name": "image", "dtype": "float32", "surprise": 1}},
        {"preprocessing": "as usual"},
        {"sha256": []},
        {"source": 7},
        {"source": None},
        {"probe": None},
        {"probe": {"image": "of a cat", "probabilities": [1, 0, 0]}},
        {"probe": vars(Probe((0.5, 0.5)))},
    ],
)
def test_values_of_the_wrong_kind_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"not a card of this project|preprocessing is not described"):
        Card.from_bytes(rewritten(a_card(), **change))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("image", "float64"), "dtype 'float64': export it as float32 or 8-bit integers"),
        (("image", "uint8", 1.0, 0, "raw"), "encoding 'raw'"),
        (("image", "float32", None, None, "pixels"), "cannot hold pixels as float32"),
        (("image", "int8", 0.0, 0), "scale 0.0"),
        (("image", "int8", float("nan"), 0), "scale nan"),
        (("image", "int8", "0.1", 0), "scale '0.1'"),
        (("image", "int8", 0.1, None), "zero point None"),
        (("image", "int8", 0.1, 0.5), "zero point 0.5"),
    ],
)
def test_an_end_that_cannot_be_fed_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        TensorSpec(*arguments)
