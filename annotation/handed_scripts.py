"""QuPath scripts for people without Python on their machine, and the protocol that goes into them."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path

from annotation.class_mapping import trimmed_path_class
from annotation.errors import ConflictError
from annotation.paths import replacing
from annotation.protocol import Protocol

__all__ = ["SCRIPTS", "hand_out_scripts"]

SCRIPTS = (
    "check_my_work.groovy",
    "export_annotations.groovy",
    "import_objects.groovy",
    "set_up_classes.groovy",
)
_PLACE = 'PROTOCOL = ""\n'


def hand_out_scripts(
    folder: Path, protocol: Protocol | None = None, *, force: bool = False
) -> list[Path]:
    """Write the scripts into a folder.

    Parameters
    ----------
    protocol
        Goes into those that need to know the classes.
    force
        Write over scripts of the same name that say something else.

    Raises
    ------
    ConflictError
        One is there and says something else.
    """
    content = {name: _script(name, protocol) for name in SCRIPTS}
    changed = [
        name
        for name, text in content.items()
        if (folder / name).exists() and (folder / name).read_text(encoding="utf-8") != text
    ]
    if changed and not force:
        raise ConflictError(
            f"{folder / changed[0]} is there and says something else, so nothing was written; choose "
            "another folder, or pass --force",
            target=folder,
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [folder / name for name in content]


def _script(name: str, protocol: Protocol | None) -> str:
    text = files("qupath_scripts").joinpath(name).read_text(encoding="utf-8")
    if protocol is None or _PLACE not in text:
        return text
    # Base64, so that no class name can be read as code.
    told = base64.b64encode(json.dumps(_told(protocol), ensure_ascii=False).encode()).decode()
    return text.replace(_PLACE, f'PROTOCOL = "{told}"\n', 1)


def _told(protocol: Protocol) -> dict[str, object]:
    declared = protocol.domain.rule == "declared"
    domain = list(protocol.domain.classes) if declared else []
    names = [one.name for one in protocol.classes]
    aliases = {alias: one.name for one in protocol.classes for alias in (one.name, *one.aliases)}
    # As `Protocol.map_class` takes them: the scripts call known what `pull` does.
    patterns = [("domain", pattern) for pattern in protocol.domain.classes]
    patterns += [("ignored", pattern) for pattern in protocol.ignore]
    listed = [(one.name, one.rgb) for one in protocol.classes]
    listed += [(name, None) for name in (*domain, *protocol.ignore) if name not in names]
    return {
        "name": protocol.name,
        "version": protocol.version,
        "classes": [{"name": name, "color": rgb} for name, rgb in listed],
        "names": {trimmed_path_class(alias): name for alias, name in aliases.items()},
        "patterns": [(kind, trimmed_path_class(pattern)) for kind, pattern in patterns],
        "domain": domain,
        "needs_domain": declared,
    }
