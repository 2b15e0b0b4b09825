"""What the loop in train.py stands on: optimizer, schedule, checkpoints, progress."""
