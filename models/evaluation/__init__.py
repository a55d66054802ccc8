"""How good a model is: its figures beside each expert's, its calibration, its card."""
