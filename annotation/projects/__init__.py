"""A QuPath project's files, and the process in which QuPath reads them."""
