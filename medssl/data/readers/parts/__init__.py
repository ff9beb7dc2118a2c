"""What several readers share; not discovered as readers."""
