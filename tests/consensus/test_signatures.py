"""Signed protocols, decisions, releases and reports: each change past the triggers is found by name."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import select

from annotation.cli import run
from annotation.store import Store, create_or_upgrade
from annotation.tables import Event
from tests.conftest import PROTOCOL, CommandResult, feature, square
from tests.signing import make_key, secret_file
from tests.tampering import tamper

pytestmark = pytest.mark.both_databases

Study = Callable[..., CommandResult]
Key = tuple[str, Path, str, Path]

DECIDE = ("--class", "High grade", "--by", "L", "--reason", "seen", "--json")


@pytest.fixture
def key(study: Study, tmp_path: Path) -> Key:
    """The lead's."""
    return make_key(study, "L", tmp_path)


def disputes_of(study: Study, write_export: Callable[..., Path], protocol: str) -> None:
    """Two raters who disagree on two squares that lie apart."""
    for handle, label in (("P1", "Benign"), ("P2", "High grade")):
        drawn = [feature(square(x, 0), label) for x in (0, 400)]
        path = write_export(drawn, handle)
        pulled = study("pull", path, "--annotator", handle, "--protocol", protocol)
        assert pulled.status == 0, pulled.err
    assert study("consensus", "run", "--protocol", protocol).status == 0


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of which L has signed the protocol, two decisions, a release and a report."""
    folder = tmp_path_factory.mktemp("signed")
    url = f"sqlite:///{folder / 'store.db'}"
    create_or_upgrade(url)[0].close()
    (folder / "prostate.toml").write_text(PROTOCOL, encoding="utf-8")

    def call(*arguments: object) -> None:
        assert run([*map(str, arguments), "--store", url]) == 0, arguments

    call("protocol", "add", folder / "prostate.toml")
    for handle, role in (*((h, "pathologist") for h in ("P1", "P2", "P3")), ("L", "lead")):
        call("annotator", "add", handle, "--role", role)
    size = ("--width", 1000, "--height", 800, "--mpp", 0.5)
    call("slide", "add", "S1", *size, "--patient", "A")
    secret = secret_file(folder)
    call("key", "create", "L", "--to", folder / "L.pem", "--passphrase-file", secret)
    key = ("--key", folder / "L.pem", "--passphrase-file", secret)
    call("protocol", "sign", "prostate", "--version", "1", "--by", "L", *key)
    for handle, label in (("P1", "Benign"), ("P2", "High grade")):
        drawn = [feature(square(x, 0), label) for x in (0, 400)]
        (folder / handle).mkdir()
        export = folder / handle / "S1.geojson"
        export.write_text(json.dumps({"type": "FeatureCollection", "features": drawn}))
        call("pull", export, "--annotator", handle, "--protocol", "prostate")
    call("consensus", "run", "--protocol", "prostate")
    call("adjudicate", "decide", 1, 2, *DECIDE, *key)
    call("release", "create", "v1", "--run", 1, *key)
    call("report", "--run", 1, "--to", folder / "report.html", *key)
    return folder


@pytest.fixture
def signed(
    template: Path, pathquorum: Study, tmp_path: Path, replace_store: Callable[[Path], None]
) -> Study:
    """That study, in files and a store of the test's own."""
    shutil.copytree(
        template, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("store.db*")
    )
    replace_store(template / "store.db")
    return pathquorum


@pytest.fixture
def leads(signed: Study, tmp_path: Path) -> Key:
    """The key of that study's lead."""
    return "--key", tmp_path / "L.pem", "--passphrase-file", secret_file(tmp_path)


def verify(study: Study, *files: Path) -> tuple[int, dict[str, Any]]:
    result = study("signature", "verify", "--json", *files)
    return result.status, result.json


def problems(study: Study) -> list[tuple[int | None, str, str]]:
    status, found = verify(study)
    assert status == 1
    assert found["ok"] is False
    return [(bad["signature"], bad["subject"], bad["problem"]) for bad in found["bad"]]


def test_what_was_signed_is_listed_with_its_meaning_and_holds(signed: Study, store: Store) -> None:
    listed = signed("signature", "list", "--json").json["signatures"]
    assert [(row["subject"].partition(":")[0], row["meaning"]) for row in listed] == [
        ("protocol", "I approve this protocol"),
        ("decision", "I decided this dispute"),
        ("decision", "I decided this dispute"),
        ("release", "I release this training set"),
        ("report", "I approve this report"),
    ]
    assert {row["signer"] for row in listed} == {"L"}
    only = signed("signature", "list", "--subject", "decision:2", "--json").json["signatures"]
    assert [row["id"] for row in only] == [3]
    status, found = verify(signed)
    assert (status, found["ok"], found["signatures"], found["bad"]) == (0, True, 5, [])
    with store.reading() as session:
        told = {
            event.action: (event.new or {}).get("signed")
            for event in session.scalars(select(Event))
            if event.action
            in ("protocol signed", "dispute decided", "release created", "report written")
        }
    assert list(told.values()) == [True] * 4


def test_by_alone_is_on_record_as_unsigned(
    study: Study, store: Store, write_export: Callable[..., Path], tmp_path: Path
) -> None:
    disputes_of(study, write_export, "prostate")
    for command in (
        ("protocol", "sign", "prostate", "--version", "1", "--by", "L"),
        ("adjudicate", "decide", 1, *DECIDE),
        ("release", "create", "v1", "--run", 1, "--by", "L"),
        ("report", "--to", tmp_path / "r.html", "--by", "L"),
    ):
        assert study(*command).status == 0
    with store.reading() as session:
        events = [e for e in session.scalars(select(Event)) if "signed" in (e.new or {})]
    assert [(e.action, e.actor, (e.new or {})["signed"]) for e in events] == [
        (action, "annotator:4", False)
        for action in ("protocol signed", "dispute decided", "release created", "report written")
    ]
    assert study("signature", "list", "--json").json["signatures"] == []
    assert not (tmp_path / "r.html.sig").exists()
    assert "by name, without a key" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("statement", "subject", "problem"),
    [
        ("UPDATE decisions SET class = 'Benign' WHERE id = 1", "decision:1", "changed since"),
        ("UPDATE decisions SET reason = 'x' WHERE id = 2", "decision:2", "changed since"),
        ("UPDATE decisions SET by_id = 1 WHERE id = 2", "decision:2", "another adjudicator"),
        ("UPDATE disputes SET geometry = NULL WHERE id = 1", "decision:1", "changed since"),
        (
            "UPDATE consensus_items SET pattern = '{}' WHERE id = "
            "(SELECT item_id FROM disputes WHERE id = 1)",
            "decision:1",
            "changed since",
        ),
        ("DELETE FROM decisions WHERE id = 2", "decision:2", "the decision is gone"),
        (
            "UPDATE protocols SET text = replace(text, 'quadratic', 'linear')",
            "protocol:1",
            "not of its stated",
        ),
        ("UPDATE protocols SET text = 'x'", "protocol:1", ""),
        ("UPDATE protocols SET version = '2'", "protocol:1", "name or version"),
        ("UPDATE protocols SET signed_by_id = 1", "protocol:1", "another signer"),
        (
            "UPDATE releases SET manifest = replace(manifest, 'High', 'Low')",
            "release:1",
            "changed since",
        ),
        ("UPDATE releases SET name = 'v2'", "release:1", "as the trail records"),
        ("UPDATE signatures SET meaning = 'x' WHERE id = 4", "release:1", "does not hold"),
        ("UPDATE signatures SET annotator_id = 1 WHERE id = 4", "release:1", "somebody else's"),
        (
            "UPDATE signatures SET at = '2020-01-01 00:00:00' WHERE id = 4",
            "release:1",
            "before its key was on record",
        ),
        (
            "UPDATE signatures SET signature = (SELECT signature FROM signatures WHERE id = 1) "
            "WHERE id = 4",
            "release:1",
            "not hold",
        ),
        ("DELETE FROM signatures WHERE id = 4", "release:1", "is gone"),
        ("UPDATE signing_keys SET annotator_id = 1", "key:1", "records another key"),
        ("UPDATE signing_keys SET revoked_at = '2020-01-01 00:00:00'", "key:1", "revoked"),
        ("UPDATE signing_keys SET fingerprint = 'x'", "key:1", "not of its fingerprint"),
        ("DELETE FROM signing_keys", "protocol:1", "its key is gone"),
    ],
)
def test_what_was_changed_past_the_triggers_is_named(
    signed: Study, store: Store, statement: str, subject: str, problem: str
) -> None:
    tamper(store, statement)
    found = problems(signed)
    assert any(subject == where and problem in why for _, where, why in found), found


def test_only_what_was_changed_is_named(signed: Study, store: Store) -> None:
    tamper(store, "UPDATE decisions SET class = 'Benign' WHERE id = 1")
    assert problems(signed) == [(2, "decision:1", "what was signed has changed since")]
    shown = signed("signature", "verify")
    assert shown.status == 1
    assert "Signature 2 of L (I decided this dispute) on decision:1: what was signed" in shown.out


def test_a_signature_that_was_put_in_is_named(signed: Study, store: Store) -> None:
    """Copied bytes hold, but no event of the trail records them."""
    tamper(
        store,
        "INSERT INTO signatures SELECT 99, at, annotator_id, key_id, meaning, subject, sha256, "
        "head, signature FROM signatures WHERE id = 4",
    )
    assert problems(signed) == [(99, "release:1", "no event of the trail records it")]


def test_a_broken_trail_is_named(signed: Study, store: Store) -> None:
    tamper(store, "UPDATE events SET reason = 'x' WHERE id = 3")
    assert any("event 3 of the trail is bad" in why for _, _, why in problems(signed))


def test_anothers_or_a_revoked_key_decides_nothing(
    signed: Study, store: Store, leads: Key, tmp_path: Path
) -> None:
    """Neither a decision nor a release or report comes in, and no file is written."""
    other = make_key(signed, "P3", tmp_path)
    assert signed("adjudicate", "reopen", 1).status == 0
    with store.reading() as session:
        before = len(session.scalars(select(Event)).all())
    commands: list[tuple[object, ...]] = [
        ("adjudicate", "decide", 1, *DECIDE),
        ("release", "create", "v2", "--run", 1, "--by", "L"),
        ("report", "--to", tmp_path / "new.html", "--by", "L"),
    ]
    for command in commands:
        result = signed(*command, *other)
        assert (result.status, result.out) == (1, "")
        assert "'P3''s, and 'L' is to sign" in result.err
    with store.reading() as session:
        assert len(session.scalars(select(Event)).all()) == before
    assert signed("key", "revoke", "L", "--reason", "lost").status == 0
    for command in commands:
        result = signed(*command, *leads)
        assert (result.status, result.out) == (1, "")
        assert "was revoked" in result.err
    assert not (tmp_path / "new.html").exists()


def test_a_protocol_that_requires_signatures_takes_nothing_unsigned(
    study: Study, write_export: Callable[..., Path], key: Key, tmp_path: Path
) -> None:
    text = PROTOCOL.replace('"prostate"', '"strict"').replace(
        "[dispute]", "[require]\nsignature = true\n[dispute]"
    )
    (tmp_path / "strict.toml").write_text(text, encoding="utf-8")
    assert study("protocol", "add", tmp_path / "strict.toml").status == 0
    assert study("protocol", "sign", "strict", "--version", "1", "--by", "L", *key).status == 0
    disputes_of(study, write_export, "strict")
    commands: list[tuple[object, ...]] = [
        ("adjudicate", "decide", 1, *DECIDE),
        ("release", "create", "v1", "--run", 1, "--by", "L"),
        ("report", "--to", tmp_path / "r.html", "--by", "L"),
    ]
    for command, what in zip(commands, ("decision", "release", "report"), strict=True):
        result = study(*command)
        assert (result.status, result.out) == (1, "")
        assert f"requires signatures and this {what} has none" in result.err
        assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "r.html").exists()
    for command in commands:
        result = study(*command, *key)
        assert result.status == 0, result.err
    again = ("adjudicate", "reopen", 1, "--reason", "seen at 40x")
    refused = study(*again, "--by", "L")
    assert (refused.status, refused.out) == (1, "")
    assert "requires signatures and this reopening has none" in refused.err
    assert study("adjudicate", "show", 1, "--json").json["disputes"][0]["state"] != "open"
    assert study(*again, *key).status == 0
    assert study("adjudicate", "show", 1, "--json").json["disputes"][0]["state"] == "open"
    taken_back = study("signature", "list", "--json").json["signatures"][-1]
    assert (taken_back["meaning"], taken_back["signer"]) == ("I took this decision back", "L")
    assert study("signature", "verify").status == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Required of decisions, releases and reports" in page
    assert "with the key" in page


def openssl_verifies(signature: Path, folder: Path) -> bool:
    """What the README says: the statement, the signature and the key, each in a file."""
    document = json.loads(signature.read_bytes())
    (folder / "key.pem").write_text(document["public_key"])
    (folder / "statement.json").write_text(document["statement"], encoding="utf-8")
    (folder / "signature.bin").write_bytes(base64.b64decode(document["signature"]))
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pem", "-in",
         "statement.json", "-sigfile", "signature.bin"],
        cwd=folder, capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def test_openssl_verifies_what_goes_out(signed: Study, leads: Key, tmp_path: Path) -> None:
    """Report, release and head: the signature holds, the digest is the file's, a change is seen."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl binary here")
    assert signed("audit", "head", "--by", "L", "--to", tmp_path / "h.json", *leads).status == 0
    export = ("release", "export", "v1", "--format", "geojson", "--to", tmp_path / "out")
    assert signed(*export).status == 0
    (tmp_path / "s").mkdir()
    for file in (tmp_path / "report.html", tmp_path / "out" / "manifest.json"):
        signature = file.with_name(file.name + ".sig")
        assert openssl_verifies(signature, tmp_path / "s")
        statement = json.loads((tmp_path / "s" / "statement.json").read_bytes())
        assert statement["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert statement["head"] == json.loads(signature.read_bytes())["head"]
    assert openssl_verifies(tmp_path / "h.json", tmp_path / "s")
    document = json.loads((tmp_path / "h.json").read_bytes())
    document["statement"] = document["statement"].replace("vouch", "vouched")
    (tmp_path / "h.json").write_text(json.dumps(document))
    assert not openssl_verifies(tmp_path / "h.json", tmp_path / "s")


def test_the_signed_text_is_canonical_json(signed: Study, tmp_path: Path) -> None:
    """The standard library writes the same bytes, and no handle stands in them."""
    document = json.loads((tmp_path / "report.html.sig").read_bytes())
    statement = json.loads(document["statement"])
    again = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert again == document["statement"]
    assert set(statement) == {"at", "head", "meaning", "sha256", "signer", "study", "subject"}
    assert statement["signer"] == "annotator:4"
    public: Any = load_pem_public_key(document["public_key"].encode())
    public.verify(base64.b64decode(document["signature"]), again.encode())


def test_a_file_is_held_against_the_signature_beside_it(
    signed: Study, store: Store, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    status, found = verify(signed, report)
    assert (status, found["files"][0]["ok"], found["files"][0]["signer"]) == (0, True, "L")
    report.write_text(report.read_text(encoding="utf-8") + " ", encoding="utf-8")
    status, found = verify(signed, report)
    assert status == 1
    assert found["bad"] == []
    assert "is not what was signed" in found["files"][0]["problem"]
    assert "is not what was signed" in signed("signature", "verify", report).out
    assert signed("signature", "verify", tmp_path / "prostate.toml").status == 1
    tamper(store, "DELETE FROM events WHERE id > 5")
    status, found = verify(signed, report)
    assert (
        "was cut" in found["files"][0]["problem"] or "not what was" in found["files"][0]["problem"]
    )


def test_the_head_of_a_report_or_release_finds_a_cut_trail(
    signed: Study, store: Store, tmp_path: Path
) -> None:
    """The head covers the event of the report or release itself."""
    assert signed(
        "release", "export", "v1", "--format", "geojson", "--to", tmp_path / "out"
    ).status == 0  # fmt: skip
    out = tmp_path / "out"
    assert (
        json.loads((out / "head.json").read_bytes())["head"]
        == (json.loads((out / "manifest.json.sig").read_bytes())["head"])
    )
    heads = [tmp_path / "report.html.sig", out / "manifest.json.sig", out / "head.json"]
    for head in heads:
        assert signed("audit", "verify", "--against", head).status == 0
    with store.reading() as session:
        first = session.scalars(
            select(Event.id).where(Event.action.in_(["release created", "report written"]))
        ).first()
    tamper(store, "DELETE FROM releases", f"DELETE FROM events WHERE id >= {first}")
    assert signed("audit", "verify").status == 0
    for head in heads:
        found = signed("audit", "verify", "--against", head)
        assert found.status == 1
        assert "was cut" in found.out


def test_an_unsigned_report_does_not_take_a_signed_ones_place(
    signed: Study, leads: Key, tmp_path: Path
) -> None:
    report, beside = tmp_path / "report.html", tmp_path / "report.html.sig"
    before = report.read_bytes(), beside.read_bytes()
    result = signed("report", "--to", report)
    assert result.status == 1
    assert "is signed" in result.err
    assert (report.read_bytes(), beside.read_bytes()) == before
    again = signed("report", "--to", report, "--json", *leads)
    assert again.status == 0
    assert again.json["signature"] == str(beside)
    assert verify(signed, report)[0] == 0


def test_a_report_that_cannot_be_signed_leaves_nothing_behind(
    signed: Study, leads: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("consensus.report.detached", fail)
    (tmp_path / "to").mkdir()
    count = len(signed("signature", "list", "--json").json["signatures"])
    assert signed("report", "--to", tmp_path / "to" / "r.html", *leads).status == 1
    assert list((tmp_path / "to").iterdir()) == []
    assert len(signed("signature", "list", "--json").json["signatures"]) == count
