"""From the items of a release to the labels of tiles, pixels, bags and objects."""
