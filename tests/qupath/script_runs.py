"""Runs the scripts that are handed out, in a process of its own as QuPath's command line does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import shapely
from PIL import Image

from annotation.projects.creating import NewImage, create_project
from annotation.projects.process import QuPathProcess
from annotation.protocol import parse_protocol
from annotation.records import PathObject
from tests.qupath.test_object_writing import thing

__all__ = ["PROTOCOL", "TUMOR", "of_one_image", "run", "run_after", "square"]

PROTOCOL = parse_protocol(
    """
name = "prostate"
version = "1"
task = "regions"
ignore = ["Ignore*"]
[[classes]]
name = "Benign"
color = "#00A000"
[[classes]]
name = "Tumor $x\\" + '\\\\n"
aliases = ["Tumour"]
""",
    "test",
)
TUMOR = PROTOCOL.classes[1].name


def of_one_image(process: QuPathProcess, folder: Path, *objects: PathObject) -> Path:
    """A project with the image A.png of 600 x 500 px."""
    Image.new("RGB", (600, 500), "white").save(folder / "A.png")
    images = [NewImage("A.png", (folder / "A.png").as_uri(), objects, {"grade": "3"})]
    return create_project(folder / "p", images, classes=[], process=process)


def square(number: int, x: float, y: float, path_class: str | None, size: float = 50) -> PathObject:
    return thing(number, shapely.box(x, y, x + size, y + size), path_class=path_class)


def run(script: Path, project: Path, *arguments: object, image: str = "A.png") -> list[str]:
    """What a script prints; `image` may be the empty text, for each of the project."""
    runner = Path(__file__).with_name("run_script.py")
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-W",
            "ignore",
            runner,
            script,
            project,
            image,
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("BEGIN\n")[1].splitlines()
    return [line for line in lines if "[INFO" not in line and "[WARN" not in line]


def run_after(before: str, script: Path, project: Path, *arguments: object) -> list[str]:
    """What a script prints after some Groovy that brings QuPath into another state.

    Classes that `before` parses with `loader` are there for the script as QuPath's own would be;
    `binding` holds its arguments.
    """
    wrapper = script.with_name("before.groovy")
    wrapper.write_text(
        "import static qupath.lib.scripting.QP.*\n"
        "def loader = new GroovyClassLoader(getClass().getClassLoader())\n"
        "def words = args as List\n"
        "binding.setVariable('args', words.drop(1) as String[])\n"
        f"{before}\n"
        "new GroovyShell(loader, binding).evaluate(new File(words[0]))\n",
        encoding="utf-8",
    )
    return run(wrapper, project, script, *arguments)
