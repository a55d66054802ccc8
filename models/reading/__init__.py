"""Behind `models.reader`: which level and resampling a tile needs, and where its pixels come from."""
