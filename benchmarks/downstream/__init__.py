"""What `heads.py` is made of: one file for each kind of head."""
