"""Find another preprocessing that makes a network surer of what images show; most are out after a few images.

The probability of an image's class tells far sooner than whether the answer is right: on 40 images, 8 points of
accuracy may be luck. How often that finds a preprocessing that costs a few points, and what it takes, is in
benchmarks/PREPROCESSING.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from convert.images.trial_runs import TrialRuns
from edge_runtime import InputSpec
from edge_runtime.arrays import Array

LEADS = {3: -0.3, 8: 0.0, 20: 0.05, 40: 0.05, 80: 0.05, 160: 0.05}
"""Images -> by how much another preprocessing must raise the mean log-likelihood of them, in nats, to stay in."""
FEWEST = 20
"""Images from which on one may win."""
SIGNIFICANT = 0.01
"""p-value of Wilcoxon's signed-rank test from which on it wins: ranks, since a few images differ by far more than
others. It is looked at up to four times, for several preprocessings; `LEADS` keeps those out that are as good."""


def surer_way(runs: TrialRuns, ways: Mapping[str, InputSpec]) -> tuple[str, int] | None:
    """Return the name of a way to prepare images that makes a network surer of their classes, and of how many images.

    It must be right on more of them, too: stronger contrast alone can make a network sure of itself. None if there is
    no such way.
    """
    left = dict(ways)
    for count in (images for images in LEADS if images <= len(runs.images) and runs.numbers(images)):
        left = {name: spec for name, spec in left.items() if runs.can_read(spec, count)}
        if not left:
            break
        given = runs.log_likelihoods(runs.spec, count)
        leads = {name: runs.log_likelihoods(spec, count) - given for name, spec in left.items()}
        left = {name: spec for name, spec in left.items() if leads[name].mean() > LEADS[count]}
        best = max(left, key=lambda name: float(leads[name].mean()), default=None)
        if best is None or count < FEWEST:
            continue
        if _is_right_more_often(runs, left[best], count) and p_value(leads[best]) < SIGNIFICANT:
            return best, count
    return None


def _is_right_more_often(runs: TrialRuns, tried: InputSpec, count: int) -> bool:
    return int(runs.right(tried, count).sum()) > int(runs.right(runs.spec, count).sum())


def p_value(leads: Array) -> float:
    """Return how likely differences like these, or greater ones, are where none is to be expected."""
    if not leads.any():
        return 1.0
    from scipy.stats import wilcoxon  # takes most of a second to import, and is seldom needed

    return float(wilcoxon(leads, alternative="greater").pvalue)
