"""Rules that join fields, written on the plain document so that they also run where the structure is not valid."""
