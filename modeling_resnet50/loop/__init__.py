"""What `train.py` is made of: the run it is, what learns in it, and what is kept of that."""
