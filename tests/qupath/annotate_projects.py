"""Opens a project with paquo, draws one square on an image and saves: ``PROJECT IMAGE CLASS``.

Run in a process of its own, for it starts Java.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(project: Path, image: str, path_class: str) -> None:
    """Draw and save; print the names of the images and of the classes as QuPath sees them."""
    import shapely
    from paquo.classes import QuPathPathClass
    from paquo.projects import QuPathProject

    with QuPathProject(project, mode="r+") as opened:
        # What QuPath's window proposes where a project was moved with its images.
        opened.update_image_paths(try_relative=True)
        print([entry.image_name for entry in opened.images])
        print([found.id for found in opened.path_classes])
        (entry,) = (entry for entry in opened.images if entry.image_name == image)
        entry.hierarchy.add_annotation(
            roi=shapely.box(60, 60, 160, 160), path_class=QuPathPathClass(path_class)
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
