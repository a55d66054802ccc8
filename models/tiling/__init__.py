"""Where the tiles of a slide lie: the grid, the tissue, and the file that holds both."""
