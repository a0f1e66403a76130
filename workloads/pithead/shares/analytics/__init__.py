"""Analytics: the log of shares becomes raw rows and rollups for charts.

Answers for the columnar schema (`ddl`), how it is read (`reading`) and, alive, how the
log gets into it. No money depends on it: it may lag, be rebuilt, or be away.
"""
