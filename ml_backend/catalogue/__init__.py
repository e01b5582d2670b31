"""Galaxies with positions: from a catalogue into Label Studio, and the results out again.

In: positions.py and galaxies.py (who is asked for), survey_images.py and cutouts.py (from images on
this machine), cutout_server.py (from a survey's server), pictures.py (what people see), viewers.py,
tasks.py and importing.py (all of it). Out: results.py (what is known), said.py, frames.py and
objects.py (what was marked, and where on the sky), columns.py (as columns), formats.py (as files),
exporting.py and objects_table.py (as catalogues), region_files.py, mask_files.py.
"""
