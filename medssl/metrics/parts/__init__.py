"""What several metrics share; not discovered."""
