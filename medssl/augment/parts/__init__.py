"""What several operations share; not operations themselves."""
