"""Bulk encoding: folders and catalogues of images to one file of embeddings.

items.py (what there is to encode), folder.py, catalogue.py and tables.py (where it is from),
journal.py (what is done so far), run.py (all of it).
"""
