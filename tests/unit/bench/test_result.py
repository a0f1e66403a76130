"""What a benchmark prints."""

import json

import pytest

from pithead.bench.result import Result, text_of

pytestmark = pytest.mark.gate

RESULT = Result(
    benchmark="digging",
    setup={"holes": 3, "shovel": "steel"},
    figures={"deep": True, "wall_s": 2.5},
    unit="holes",
    cpu_s=1.5,
    per_cpu_s=2.0,
    baseline="looking at the ground",
    baseline_cpu_s=0.5,
    baseline_per_cpu_s=8.0,
)


def test_a_result_is_json_with_its_setup_its_baseline_and_the_ratio() -> None:
    facts = json.loads(text_of(RESULT, as_json=True))
    assert facts["benchmark"] == "digging"
    assert facts["setup"]["holes"] == 3
    assert {"python", "machine", "cores"} < facts["setup"].keys()
    assert facts["figures"] == {"deep": True, "wall_s": 2.5, "cpu_s": 1.5, "holes_per_cpu_s": 2}
    assert facts["baseline"]["holes_per_cpu_s"] == 8
    assert facts["ratio"] == 0.25


def test_people_get_lines_with_large_numbers_grouped() -> None:
    text = text_of(RESULT, as_json=False)
    assert text.startswith("digging\n  setup\n    holes: 3\n")
    assert "deep: True" in text
    assert text.endswith("ratio to the baseline: 0.25")
