"""GeoJSON as QuPath and its users write it: reading every dialect, and writing QuPath's own."""
