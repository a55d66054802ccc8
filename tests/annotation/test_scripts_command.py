"""`scripts` hands out what is shipped, with a protocol in it, and never over something else."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path

from annotation.handed_scripts import SCRIPTS
from tests.conftest import PROJECT_ROOT, CommandResult

Pathquorum = Callable[..., CommandResult]

PROTOCOL = """
name = "p"
version = "2"
task = "regions"
[[classes]]
name = 'quote " and $x'
color = "#010203"
"""


def test_all_scripts_are_handed_out_and_a_second_time_nothing_changes(
    pathquorum: Pathquorum, tmp_path: Path
) -> None:
    result = pathquorum("scripts", "--to", tmp_path / "out", "--json")
    assert [Path(file).name for file in result.json["files"]] == list(SCRIPTS)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    for name in SCRIPTS:
        assert before[name] == (PROJECT_ROOT / "qupath_scripts" / name).read_bytes()
    assert pathquorum("scripts", "--to", tmp_path / "out").status == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_every_script_says_what_it_does_and_how_to_run_it() -> None:
    for name in SCRIPTS:
        text = (PROJECT_ROOT / "qupath_scripts" / name).read_text(encoding="utf-8")
        head = text.split("*/")[0]
        assert head.startswith("/*")
        assert "Script editor" in head.replace("script editor", "Script editor")
        assert f"QuPath script {name}" in head


def test_scripts_that_read_saved_data_share_their_check_of_it() -> None:
    """Each is one file, so the check stands in both."""

    def check(name: str) -> str:
        text = (PROJECT_ROOT / "qupath_scripts" / name).read_text(encoding="utf-8")
        found = re.search(
            r"^// What speaks against an image's.*?^String lossOf.*?^}$", text, re.M | re.S
        )
        assert found
        return found[0]

    assert check("import_objects.groovy") == check("export_annotations.groovy")


def test_a_protocol_goes_in_as_data_that_is_no_code(pathquorum: Pathquorum, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(PROTOCOL)
    assert pathquorum("protocol", "add", tmp_path / "p.toml").status == 0
    assert pathquorum("scripts", "--to", tmp_path / "out", "--protocol", "p").status == 0
    for name in ("check_my_work.groovy", "set_up_classes.groovy"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        (line,) = re.findall(r'^PROTOCOL = "([A-Za-z0-9+/=]+)"$', text, re.MULTILINE)
        told = json.loads(base64.b64decode(line))
        assert told["classes"][0] == {"name": 'quote " and $x', "color": [1, 2, 3]}
        assert told["needs_domain"]


def test_a_script_that_says_something_else_stays(pathquorum: Pathquorum, tmp_path: Path) -> None:
    mine = tmp_path / "check_my_work.groovy"
    mine.write_text("// mine")
    refused = pathquorum("scripts", "--to", tmp_path)
    assert (refused.status, refused.out) == (1, "")
    assert "pass --force" in refused.err
    assert mine.read_text() == "// mine"
    assert not (tmp_path / "export_annotations.groovy").exists()
    assert pathquorum("scripts", "--to", tmp_path, "--force").status == 0
    assert mine.read_text() != "// mine"


def test_an_unknown_protocol_is_refused(pathquorum: Pathquorum, tmp_path: Path) -> None:
    refused = pathquorum("scripts", "--to", tmp_path / "out", "--protocol", "none")
    assert refused.status == 1
    assert not (tmp_path / "out").exists()
