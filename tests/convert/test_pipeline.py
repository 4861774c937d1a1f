"""What the schemes of several runs share."""

from __future__ import annotations

from pathlib import Path

from convert.job import Job, check
from convert.keras_models.sources import ModelSource
from convert.pipeline import lowering_request
from convert.quantization.schemes import SCHEMES


def test_the_float_network_is_compared_on_the_same_pictures_whatever_is_made_of_it(tmp_path: Path) -> None:
    """Or another scheme would not find it in the cache."""
    jobs = [
        Job(ModelSource(), (SCHEMES[scheme],), validate=validate, validation_size=size)
        for scheme in ("int8", "float16")
        for validate, size in ((True, 1000), (True, 50), (False, 1000))
    ]
    asked = {lowering_request(job, check(job), tmp_path).images for job in jobs}
    assert len(asked) == 1
    assert len({path.parent for path in asked.pop()}) == 8, "pictures of different classes"
