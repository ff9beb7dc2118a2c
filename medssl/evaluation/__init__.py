"""From predictions to a verdict: arms, cells, statistics, sweeps."""
