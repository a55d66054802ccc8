"""How the overlay cuts a slide into faces: noding, labels, and the seams between windows."""
