"""How objects of several raters are grouped: similarity, components, and the search for groups."""
