"""Measures what a machine can do: `pithead bench NAME`.

Each benchmark is a module with a `run` that returns a `Result`: its set-up, its figures
and the CPU seconds they took, beside a baseline measured in the same run. Absolute
figures are the machine's; the ratio is the program's, so that is what to compare.
"""
