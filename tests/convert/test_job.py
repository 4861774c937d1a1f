"""What a job has by default, and what a card records of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from convert.checking import check
from convert.job import Job, Sources
from convert.keras_models.sources import ModelSource
from convert.keras_models.weight_formats import HDF5_START
from convert.quantization.schemes import SCHEMES
from convert.statistics.verdict import Limits
from edge_runtime import Card
from tests.convert.own_model import own_job
from tests.edge_runtime.tiny_model import tiny_artifact


@pytest.fixture
def own(tmp_path: Path) -> Job:
    return own_job(tmp_path)


def test_defaults_are_the_contracted_ones() -> None:
    assert Limits() == Limits(max_drop_pp=2.0, min_agreement=0.95)
    job = Job(ModelSource(), ())
    assert (job.output_dir, job.validate, job.io) == (Path("build"), True, None)


RECORDED = {
    "classes", "input_size", "io", "calibrator", "calibration_size", "calibration_manifest_sha256", "validation_size",
    "validation_manifest_sha256", "keep_float", "recover", "limits", "machine",
}  # fmt: skip


def card_of(job: Job, scheme: str) -> Card:
    """A card with what it records of a job, after a journey through JSON."""
    inputs = check(job)
    build = json.loads(json.dumps(job.recorded(inputs, inputs.io[scheme])))
    return replace(tiny_artifact().card, scheme=scheme, source={"build": build})


def test_a_card_records_what_decides_about_the_artifact_and_no_place(own: Job) -> None:
    build = card_of(own, "int8").source["build"]
    assert set(build) == RECORDED
    assert str(own.calibration) not in json.dumps(build)


def test_a_card_and_the_sources_give_the_job_again(own: Job, tmp_path: Path) -> None:
    job = replace(
        own, schemes=(SCHEMES["mixed"],), calibration_size=None, calibrator="mse", keep_float="^stem", io="int8",
        validation_size=7, limits=Limits(max_drop_pp=3.0), output_dir=tmp_path, thumbnails=False, use_cache=False,
    )  # fmt: skip
    given = Sources(preprocessing="tf", calibration=own.calibration, validation=own.validation)
    assert Job.from_card(card_of(job, "mixed"), own.source, given, tmp_path) == job


def test_a_card_records_an_architecture_that_was_given(own: Job, tmp_path: Path) -> None:
    weights = tmp_path / "mine.h5"
    weights.write_bytes(HDF5_START)
    source = ModelSource(weights=weights, architecture="article")
    card = card_of(replace(own, source=source, preprocessing="tf"), "int8")
    assert card.source["build"]["architecture"] == "article"
    assert Job.from_card(card, ModelSource(weights=weights), Sources(), tmp_path).source == source
    assert Job.from_card(card_of(own, "int8"), source, Sources(), tmp_path).source.architecture is None


def test_layers_kept_in_float_by_another_scheme_of_the_run_are_no_part_of_the_job(own: Job, tmp_path: Path) -> None:
    job = replace(own, schemes=(SCHEMES["int8"], SCHEMES["mixed"]), keep_float="^stem")
    assert Job.from_card(card_of(job, "int8"), own.source, Sources(), tmp_path).keep_float is None
    assert Job.from_card(card_of(job, "mixed"), own.source, Sources(), tmp_path).keep_float == "^stem"


def test_a_recovered_artifact_is_made_from_int8(own: Job, tmp_path: Path) -> None:
    card = replace(card_of(replace(own, recover=True), "int8"), scheme="mixed")
    again = Job.from_card(card, own.source, Sources(), tmp_path)
    assert (again.schemes, again.recover) == ((SCHEMES["int8"],), True)


def test_a_card_that_is_older_than_an_option_has_its_default(own: Job, tmp_path: Path) -> None:
    card = card_of(replace(own, calibrator="mse"), "int8")
    del card.source["build"]["calibrator"]
    assert Job.from_card(card, own.source, Sources(), tmp_path).calibrator == Job.calibrator
