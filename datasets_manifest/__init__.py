"""Dataset cards: one YAML file a public dataset, seen with `medssl data list`."""
