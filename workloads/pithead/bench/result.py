"""What a benchmark tells, and how it is printed."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

Fact = bool | float | int | str
"""A fact of a set-up or a figure; the unit is the end of its name."""


@dataclass(frozen=True, slots=True)
class Result:
    """Set-up, figures, and the rate against that of the baseline."""

    benchmark: str
    setup: Mapping[str, Fact]
    figures: Mapping[str, Fact]
    unit: str
    """What is counted: `shares`."""
    cpu_s: float
    """User and system time of the measured part, of this process with all its threads."""
    per_cpu_s: float
    """Units a CPU-second."""
    baseline: str
    """What the baseline does."""
    baseline_cpu_s: float
    baseline_per_cpu_s: float

    @property
    def ratio(self) -> float:
        """Rate of the measured part over that of the baseline."""
        return self.per_cpu_s / self.baseline_per_cpu_s

    def facts(self) -> dict[str, object]:
        """Return all of it, ready for JSON."""
        return {
            "benchmark": self.benchmark,
            "setup": {
                **self.setup,
                "python": platform.python_version(),
                "machine": platform.machine(),
                "cores": os.cpu_count() or 0,
            },
            "figures": {
                **self.figures,
                "cpu_s": round(self.cpu_s, 3),
                f"{self.unit}_per_cpu_s": round(self.per_cpu_s),
            },
            "baseline": {
                "what": self.baseline,
                "cpu_s": round(self.baseline_cpu_s, 3),
                f"{self.unit}_per_cpu_s": round(self.baseline_per_cpu_s),
            },
            "ratio": round(self.ratio, 4),
        }


def text_of(result: Result, *, as_json: bool) -> str:
    """Return a result as one line of JSON or as lines for people."""
    facts = result.facts()
    if as_json:
        return json.dumps(facts)
    lines = [str(facts["benchmark"])]
    for part in ("setup", "figures", "baseline"):
        group = facts[part]
        assert isinstance(group, dict)
        lines.append(f"  {part}")
        lines += [f"    {name}: {_shown(value)}" for name, value in group.items()]
    lines.append(f"  ratio to the baseline: {facts['ratio']}")
    return "\n".join(lines)


def _shown(value: Fact) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:,}" if is_number else str(value)
