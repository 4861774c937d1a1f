"""The whole journey, from a Keras network and two image folders to judged artifacts. Read this first.

source --lower--> float .tflite --measure--> statistics --quantize--> model --package--> artifact
                        |                                                                    |
                        +----------- reference answers ----- compare, judge ---- answers ----+
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from convert import building
from convert.artifact import make_artifact
from convert.building import Recipe
from convert.cache.recall import StageCache
from convert.cache.store import open_cache
from convert.errors import ConvertError
from convert.job import Job, check
from convert.preparation import Prepared, prepare
from convert.quantization.evaluation import Score
from convert.quantization.float_fallback import FloatFallback, search, segments
from convert.quantization.quantize import head_begins
from convert.quantization.schemes import SCHEMES
from convert.reporting import html
from convert.reporting import outcome as report
from convert.reporting.outcome import FallbackRow, Outcome
from convert.statistics.verdict import PASS
from convert.system.progress import Progress
from convert.system.temporary import scratch_folder
from convert.tflite.graph import TfliteGraph


def convert(job: Job, progress: Progress) -> list[Outcome]:
    """Convert a network with every scheme of the job, and judge the results.

    Raises:
        EdgeError: a class of it; no artifact of an earlier run is lost, none is half-written.
    """
    inputs = check(job)
    with _scratch_folder(job.output_dir) as scratch:
        memory = StageCache(open_cache(progress.note) if job.use_cache else None, progress)
        prepared = prepare(job, inputs, scratch, memory)
        outcomes = []
        for scheme in job.schemes:
            progress.stage(f"quantizing: {scheme.name}")
            float_layers = prepared.kept if scheme.keeps_layers else ()
            outcome = make_artifact(prepared, Recipe(scheme, inputs.io[scheme.name], float_layers), progress)
            recovered = _recover(prepared, outcome, progress) if job.recover else []
            outcomes += [replace(outcome, superseded=bool(recovered)), *recovered]
        _write_pages(job, outcomes)
        return outcomes


@contextmanager
def _scratch_folder(output_dir: Path) -> Iterator[Path]:
    """A folder beside the results, gone when the work is done, has failed or was interrupted."""
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(scratch_folder(output_dir))
        except OSError as error:
            raise ConvertError(f"--output-dir {output_dir} cannot be written to: {error.strerror or error}") from error
        yield scratch


def _recover(prepared: Prepared, outcome: Outcome, progress: Progress) -> list[Outcome]:
    """Where int8 did not pass: the artifact with the fewest layers in float that does, or the best there is."""
    if outcome.scheme.name != "int8" or outcome.gate is None or outcome.gate.verdict == PASS:
        return []
    progress.note(f"int8: {outcome.gate.verdict}; looking for the layers that cost most")
    io = prepared.inputs.io["int8"]
    all_int8, *fallbacks = _fallbacks(prepared, io, progress)
    steps = [_fallback_row(all_int8, outcome)]
    recovered = outcome
    for fallback in fallbacks:
        recovered = make_artifact(prepared, Recipe(SCHEMES["mixed"], io, fallback.outputs), progress)
        steps.append(_fallback_row(fallback, recovered))
        gained = fallback.score.sqnr_db - all_int8.score.sqnr_db
        progress.note(f"{fallback.layers} layers in float: {gained:+.1f} dB, {steps[-1].verdict}")
        if steps[-1].verdict == PASS:
            break
    if recovered is outcome:
        progress.note("no run of layers in float does better than int8")
        return []
    recovered = replace(recovered, recovery=steps)
    report.write_json(report.to_json(recovered), recovered.path)
    return [recovered]


def _fallbacks(prepared: Prepared, io: str, progress: Progress) -> list[FloatFallback]:
    """No layer in float, and what the search found, fewest layers first."""
    calibration = prepared.calibration
    assert calibration is not None
    assert calibration.evaluator is not None
    evaluator, graph = calibration.evaluator, TfliteGraph(calibration.rounded)

    def evaluate(float_layers: Sequence[str]) -> Score:
        return evaluator.score(
            building.apply(prepared.network, Recipe(SCHEMES["mixed"], io, tuple(float_layers)), calibration)
        )

    none = FloatFallback((), 0, evaluate(()))
    found = search(segments(graph, head_begins(graph)), evaluate, progress)
    return [none, *(fallback for fallback in found if fallback.score.sqnr_db > none.score.sqnr_db)]


def _fallback_row(fallback: FloatFallback, outcome: Outcome) -> FallbackRow:
    assert outcome.drift is not None
    assert outcome.gate is not None
    return FallbackRow(
        fallback.layers,
        outcome.bytes,
        round(fallback.score.milliseconds, 2),
        round(fallback.score.sqnr_db, 2),
        outcome.drift.agreement_top1,
        outcome.gate.verdict,
    )


def _write_pages(job: Job, outcomes: Sequence[Outcome]) -> None:
    """A page beside each artifact; each has the figures of the other schemes, too."""
    reports = [report.to_json(outcome) for outcome in outcomes]
    for value, outcome in zip(reports, outcomes, strict=True):
        others = [other for other in reports if other is not value]
        html.write(html.render(value, outcome.compared, others, job.thumbnails), html.beside(outcome.path))
