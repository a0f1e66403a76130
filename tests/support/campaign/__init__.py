"""A fault campaign over the share pipeline: real processes, real servers, real faults.

`load` are the miners and what they heard, `members` the processes that can be broken,
`faults` how and when, `world` the set-up, `verdict` what must hold afterwards.
"""
