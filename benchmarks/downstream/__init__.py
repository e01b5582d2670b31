"""What `heads.py` is made of: a part for each downstream task."""
