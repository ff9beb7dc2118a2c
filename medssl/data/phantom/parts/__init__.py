"""The retina, its lesions, the devices and the plan of the OCT phantom."""
