"""Runs a Groovy script as QuPath's command line does: on one image of a project, or on each.

python run_script.py SCRIPT PROJECT [IMAGE or ""] [ARGUMENT...]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main(script: Path, project_file: str, image: str, arguments: list[str]) -> None:
    import paquo.java  # starts Java
    from jpype import JClass, JString

    qp = JClass("qupath.lib.scripting.QP")
    project = paquo.java.ProjectIO.loadProject(
        paquo.java.File(project_file), paquo.java.BufferedImage
    )
    print("BEGIN")
    for entry in project.getImageList():
        if image and str(entry.getImageName()) != image:
            continue
        data = entry.readImageData()
        qp.setBatchProjectAndImage(project, data)
        binding: Any = JClass("groovy.lang.Binding")()
        binding.setVariable("args", JString[:]([JString(word) for word in arguments]))
        loader = JClass("groovy.lang.GroovyClassLoader")()
        JClass("groovy.lang.GroovyShell")(loader, binding).evaluate(script.read_text("utf-8"))
        JClass("java.lang.System").out.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
