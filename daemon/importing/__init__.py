"""`signaged import`: a whole network from one JSON file, checked first, then written in one transaction."""
