"""The whole journey, from a Keras network and two image folders to judged artifacts. Read this first.

source --lower--> float .tflite --calibrate--> ranges, weights --quantize, correct--> model --package--> artifact
                        |                                                                                   |
                        +------------ reference predictions ---- compare, judge ---- predictions -----------+

All schemes of a job share the first half, whose stages are cached; each goes through the second half by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from convert.artifacts import make_artifact
from convert.checking import check
from convert.errors import ConvertError
from convert.job import Job
from convert.preparation import Prepared, prepare
from convert.quantization.float_fallback import FloatFallback, find_fallbacks
from convert.quantization.schemes import SCHEMES, Recipe, Scheme
from convert.reporting import html
from convert.reporting.outcome import FallbackRow, Outcome, write_report
from convert.statistics.verdict import PASS, level
from convert.system.progress import Progress
from convert.system.temporary import scratch_folder


def convert(job: Job, progress: Progress) -> list[Outcome]:
    """Convert a network with every scheme of the job, and judge the results.

    After an `EdgeError` no artifact of an earlier run is lost, and none is half-written.
    """
    inputs = check(job)
    for note in inputs.notes:
        progress.note(note)
    with ExitStack() as stack:  # the scratch folder is gone when the work is done, has failed or was interrupted
        try:
            scratch = stack.enter_context(scratch_folder(job.output_dir))
        except OSError as error:
            raise ConvertError(
                f"--output-dir {job.output_dir} cannot be written to: {error.strerror or error}; free space or rights "
                "there, or pass another folder"
            ) from error
        prepared = prepare(job, inputs, scratch, progress)
        outcomes: list[Outcome] = []
        for scheme in job.schemes:
            progress.stage(f"quantizing: {scheme.name}")
            float_layers = prepared.float_layers if scheme.keeps_layers else ()
            outcome = make_artifact(prepared, Recipe(scheme, prepared.io[scheme.name], float_layers), progress)
            recovered = _recover(prepared, scheme, outcome, progress) if job.recover else []
            made = [replace(outcome, superseded=bool(recovered)), *recovered]
            outcomes = [*_not_replaced(outcomes, made, progress), *made]
        _write_pages(job, outcomes)
        return outcomes


def _not_replaced(outcomes: Sequence[Outcome], made: Sequence[Outcome], progress: Progress) -> list[Outcome]:
    """Return the outcomes whose files are still theirs: what may not be called int8 can take the name of another."""
    taken = {outcome.path for outcome in made}
    for path in {outcome.path for outcome in outcomes} & taken:
        progress.note(f"{path.name} is made twice, and the last one stays: give each scheme its own --output-dir")
    return [outcome for outcome in outcomes if outcome.path not in taken]


def _recover(prepared: Prepared, asked: Scheme, outcome: Outcome, progress: Progress) -> list[Outcome]:
    """If an artifact did not pass, make the one with the fewest layers in float that does, or the best there is."""
    if asked.fallback is None or outcome.gate is None or outcome.gate.verdict == PASS:
        return []
    progress.note(f"{asked.name}: {outcome.gate.verdict}; looking for the layers that cost most")
    scheme, io = SCHEMES[asked.fallback], prepared.io[asked.name]
    assert prepared.calibration is not None
    unchanged, *alternatives = find_fallbacks(prepared.calibration, scheme, io, progress)
    rows, looks = [_fallback_row(unchanged, outcome)], 1 + len(alternatives)
    if alternatives:
        progress.note(
            f"up to {looks} artifacts are judged on the same images: intervals of {level(looks):.2%} for each"
        )
    recovered = outcome
    for fallback in alternatives:
        recovered = make_artifact(prepared, Recipe(scheme, io, fallback.outputs), progress, looks)
        rows.append(_fallback_row(fallback, recovered))
        gained = fallback.score.sqnr_db - unchanged.score.sqnr_db
        progress.note(f"layers in float: {fallback.layers}, {gained:+.1f} dB, {rows[-1].verdict}")
        if rows[-1].verdict == PASS:
            break
    if recovered is outcome:
        progress.note(f"no run of layers in float does better than {asked.name}")
        return []
    recovered = replace(recovered, recovery=rows)
    write_report(recovered.to_json(), recovered.path)
    return [recovered]


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
    """Write a page beside each artifact, with the figures of the other schemes, too."""
    reports = [outcome.to_json() for outcome in outcomes]
    for value, outcome in zip(reports, outcomes, strict=True):
        others = [other for other in reports if other is not value]
        html.write(html.render(value, outcome.compared, others, job.thumbnails), html.beside(outcome.path))
