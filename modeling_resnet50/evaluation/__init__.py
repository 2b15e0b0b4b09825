"""How good a model is: metrics as `evaluate` modules, and the loop that feeds them."""
