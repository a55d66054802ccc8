"""The protocol file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from annotation.errors import ProtocolError
from annotation.protocol import Protocol, load_protocol, parse_protocol, template

SHORTEST = """
name = "p"
version = "1"
task = "{task}"
[[classes]]
name = "Benign"
[[classes]]
name = "Tumor"
aliases = ["Tumour", "Cancer"]
"""

CONTRACT = """
name = "prostate"
version = "1"
task = "regions"               # regions | objects | slides
weights = "quadratic"          # nominal | linear | quadratic
overlap = "innermost"          # innermost | priority (the order of the classes)
ignore = ["Ignore*"]           # stored, never rated

[domain]
rule = "declared"              # declared | union | slide
classes = ["Region*"]          # the objects that declare it

[consensus]
min_raters = 2
quorum = 0.5                   # a class needs more than this share

[dispute]
min_area_um2 = 100
tolerance_um = 0

[adjudication]
roles = ["senior", "lead"]

[matching]                     # objects
iou = 0.5
distance_um = 7.5              # points, and objects without area

[slides]
label_key = "grade"            # slides: the key in QuPath's image metadata

[require]
credentials = []               # kinds that must be in force on the day of the read
training = false
signature = false

[[classes]]
name = "Benign"
order = 0                      # absent: unordered
color = "#00A000"
aliases = ["Normal"]
"""


def shortest(task: str = "regions", top: str = "", tables: str = "") -> str:
    """The least that is a protocol, with lines put before and behind its classes."""
    return top + "\n" + SHORTEST.format(task=task) + tables


def refusal(text: str) -> str:
    """The one line that refuses `text`."""
    with pytest.raises(ProtocolError) as caught:
        parse_protocol(text, "p.toml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("p.toml")
    return message


def test_only_name_version_task_and_classes_are_required() -> None:
    """Everything else has the default that the contract's example shows, weights nominal."""
    short = parse_protocol(shortest("regions"), "p.toml")
    full = parse_protocol(CONTRACT, "c.toml")
    for section in (
        "overlap", "ignore", "domain", "consensus", "dispute", "adjudication", "matching",
        "slides", "require",
    ):  # fmt: skip
        assert getattr(short, section) == getattr(full, section), section
    assert short.weights == "nominal"
    assert full.weights == "quadratic"


@pytest.mark.parametrize("task", ["objects", "slides"])
def test_objects_and_slides_are_read_over_the_whole_slide_by_default(task: str) -> None:
    protocol = parse_protocol(shortest(task), "p.toml")
    assert (protocol.domain.rule, protocol.domain.classes) == ("slide", ())
    assert protocol.slides.label_key == "grade"


@pytest.mark.parametrize(
    ("key", "without"),
    [
        ("name", shortest().replace('name = "p"', "")),
        ("version", shortest().replace('version = "1"', "")),
        ("task", shortest().replace('task = "regions"', "")),
        ("classes", shortest().split("[[classes]]")[0]),
    ],
)
def test_a_missing_required_key_is_named(key: str, without: str) -> None:
    assert f"{key} is missing; add" in refusal(without)


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        (shortest(top="wieghts = 'linear'"), "wieghts", "weights"),
        (shortest(tables="[consensus]\nquorom = 0.5"), "quorom", "quorum"),
        (shortest(tables="[domains]\nrule = 'slide'"), "domains", "domain"),
        (shortest(tables="[dispute]\nmin_area = 5"), "min_area", "min_area_um2"),
        (shortest(tables="colour = '#112233'"), "colour", "color"),
        (shortest(top="zzz = 1"), "zzz", "known here: name, version"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(text: str, key: str, near: str) -> None:
    message = refusal(text)
    assert f"unknown key {key!r}" in message
    assert near in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (shortest().replace('version = "1"', "version = 1"), "version is 1; write text in quotes"),
        (shortest().replace('name = "p"', 'name = " "'), "name is ' '; write text"),
        (shortest("areas"), "task is 'areas'; write 'regions' or 'objects' or 'slides'"),
        (shortest(top="weights = 'cubic'"), "weights is 'cubic'; write 'nominal' or"),
        (shortest(top="overlap = true"), "overlap is True; write text"),
        (shortest(top="ignore = 'Ignore*'"), "ignore is 'Ignore*'; write a list"),
        (shortest(top="ignore = [1]"), "entry 1 of ignore is 1; write text"),
        (shortest(top="ignore = ['A', 'A']"), "ignore lists 'A' twice; keep one"),
        (shortest(top="domain = 'slide'"), "domain is 'slide'; write a table ([domain])"),
        (shortest(tables="[domain]\nrule = 'all'"), "[domain] rule is 'all'; write 'declared'"),
        (shortest(tables="[domain]\nclasses = []"), "[domain] classes is empty; name"),
        (shortest(tables="[consensus]\nmin_raters = 0"), "min_raters is 0; write a whole number, 1"),
        (shortest(tables="[consensus]\nmin_raters = true"), "min_raters is True; write a whole"),
        (shortest(tables="[consensus]\nmin_raters = 2.0"), "min_raters is 2.0; write a whole"),
        (shortest(tables="[consensus]\nquorum = 1"), "quorum is 1; write a share from 0 to less"),
        (shortest(tables="[consensus]\nquorum = nan"), "quorum is nan; write a share"),
        (shortest(tables="[dispute]\nmin_area_um2 = -1"), "min_area_um2 is -1; write an area"),
        (shortest(tables="[dispute]\ntolerance_um = inf"), "tolerance_um is inf; write a length"),
        (shortest(tables="[dispute]\ntolerance_um = '1'"), "tolerance_um is '1'; write a length"),
        (shortest(tables="[matching]\niou = 0"), "iou is 0; write a number above 0"),
        (shortest(tables="[matching]\niou = 1.01"), "iou is 1.01; write a number above 0"),
        (shortest(tables="[matching]\ndistance_um = -0.1"), "distance_um is -0.1; write a length"),
        (shortest(tables="[adjudication]\nroles = []"), "roles is empty; name one"),
        (shortest(tables="[adjudication]\nroles = ['boss']"), "role 'boss' in [adjudication]"),
        (shortest(tables="[slides]\nlabel_key = 3"), "label_key is 3; write text"),
        (shortest(tables="[require]\ntraining = 1"), "training is 1; write true or false"),
        (shortest(tables="[require]\ntraining = 2020-01-01"), "training is a date; write true"),
        (shortest(tables="color = 'green'"), "color of class 'Tumor' is 'green'; write \"#RRGGBB\""),
        (shortest(tables="order = 1.5"), "order is 1.5; write a whole number"),
        (shortest(tables="order = true"), "order is True; write a whole number"),
        (shortest(tables="[[classes]]\norder = 1"), "[[classes]] 3 name is missing"),
        (shortest(tables="[[consensus]]\nquorum = 0.5"), "consensus is a list; write a table"),
        ("name='p'\nversion='1'\ntask='regions'\nclasses = []", "classes is missing; add a table"),
        ("name='p'\nversion='1'\ntask='regions'\nclasses = ['A']", "classes is a list; write a list"),
        ("name='p'\nversion='1'\ntask='regions'\nclasses = 'A'", "classes is 'A'; write a list"),
        ("name = ", "is no TOML: "),
        ("x = " + "[" * 20_000, "is nested too deeply"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_to_write(text: str, says: str) -> None:
    assert says in refusal(text)


@pytest.mark.parametrize("weights", ["linear", "quadratic"])
def test_ordinal_weights_need_an_ordered_class(weights: str) -> None:
    text = shortest(top=f"weights = '{weights}'")
    assert "needs ordered classes" in refusal(text)
    assert parse_protocol(text + "order = 0", "p.toml").weights == weights


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ("[[classes]]\nname = 'Tumor'", "class 'Tumor' stands twice"),
        ("[[classes]]\nname = ' Tumor '", "stands for 'Tumor' and for ' Tumor '"),
        ("[[classes]]\nname = 'Cancer'", "class 'Cancer' stands for 'Tumor' and for 'Cancer'"),
        ("[[classes]]\nname = 'X'\naliases = ['Benign']", "alias 'Benign' stands for 'Benign' and"),
        ("[[classes]]\nname = 'X'\naliases = ['Cancer']", "alias 'Cancer' stands for 'Tumor' and"),
        ("order = 1\n[[classes]]\nname = 'X'\norder = 1", "'Tumor' and 'X' have the same order 1"),
        ("[[classes]]\nname = 'Region A'", "class 'Region A' matches 'Region*' in [domain] classes"),
        ("[[classes]]\nname = 'X'\naliases = ['Ignore*']", "alias 'Ignore*' matches 'Ignore*' in ignore"),
        ("[[classes]]\nname = 'Background'", "bears the name of what carries no class"),
        ("[[classes]]\nname = 'X'\naliases = ['absent']", "bears the name of what carries no class"),
        ("[[classes]]\nname = ' : '", "is no name"),
        ("[domain]\nclasses = ['Ignore*']", "'Ignore*' stands in ignore and in [domain] classes"),
    ],
)  # fmt: skip
def test_a_protocol_that_contradicts_itself_is_refused(tables: str, says: str) -> None:
    assert says in refusal(shortest(tables=tables))


def test_absent_is_a_label_of_slides_where_no_class_stands_for_nothing() -> None:
    protocol = parse_protocol(shortest("slides", tables="[[classes]]\nname = 'absent'"), "p.toml")
    assert protocol.class_names == ("Benign", "Tumor", "absent")


def test_the_digest_depends_on_the_content_only() -> None:
    """Comments, layout, key order and unstated defaults don't change it; every value does."""
    protocol = parse_protocol(CONTRACT, "c.toml")
    bare = "\n".join(line.split(" #")[0] for line in CONTRACT.splitlines() if line)
    bare = bare.replace('overlap = "innermost"', "").replace("quorum = 0.5", "quorum=0.50")
    again = parse_protocol(bare, "elsewhere.toml")
    assert again.sha256 == protocol.sha256
    assert again == protocol
    assert again.text != protocol.text
    for old, new in (("= 100", "= 101"), ("#00A000", "#00A001"), ("order = 0", "order = 1")):
        assert parse_protocol(CONTRACT.replace(old, new), "c.toml").sha256 != protocol.sha256


def test_the_digest_of_the_contracts_protocol_stays() -> None:
    """Signatures name this digest: what changes it needs a migration."""
    assert parse_protocol(CONTRACT, "c.toml").sha256 == (
        "30dce095ce3d89103b592534164f21240b07abd687c203b9bb286600df6c16a6"
    )


@pytest.mark.parametrize("text", [CONTRACT, shortest("objects"), template()])
def test_a_protocol_survives_json(text: str) -> None:
    protocol = parse_protocol(text, "p.toml")
    stored = json.loads(json.dumps(protocol.to_dict()))
    again = Protocol.from_dict(stored, text=text)
    assert again == protocol
    assert again.sha256 == protocol.sha256
    assert again.text == text


def test_the_template_is_a_protocol_and_shows_every_key() -> None:
    protocol = parse_protocol(template(), "template")
    assert protocol.class_names == (
        "Benign",
        "Gleason 3",
        "Gleason 4",
        "Inflammation",
        "background",
    )
    for key in protocol.to_dict():
        assert key in template()
    for section in (
        "domain",
        "consensus",
        "dispute",
        "adjudication",
        "matching",
        "slides",
        "require",
    ):
        for key in protocol.to_dict()[section]:  # type: ignore[attr-defined]
            assert f"\n{key} = " in template(), f"{section}.{key}"


def test_codes_and_ranks_follow_the_file_and_the_scale() -> None:
    """Codes in the file's order, the negative class last; ranks count the steps of the scale."""
    protocol = parse_protocol(
        "name='p'\nversion='1'\ntask='objects'\nweights='linear'\n"
        "[[classes]]\nname='High'\norder=40\n[[classes]]\nname='Other'\n"
        "[[classes]]\nname='None'\norder=-1\n[[classes]]\nname='Low'\norder=10\ncolor='#ff8000'\n",
        "p.toml",
    )
    assert protocol.negative == "absent"
    assert protocol.class_names == ("High", "Other", "None", "Low", "absent")
    assert protocol.codes == {"High": 0, "Other": 1, "None": 2, "Low": 3, "absent": 4}
    assert [protocol.ranks[code] for code in (2, 3, 0)] == [0.0, 1.0, 2.0]
    assert math.isnan(protocol.ranks[1])
    assert math.isnan(protocol.ranks[4])
    assert protocol.classes[3].color == "#FF8000"
    assert protocol.classes[3].rgb == (255, 128, 0)
    assert protocol.classes[0].rgb is None


def test_a_file_is_loaded_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_bytes(b"\xef\xbb\xbf" + CONTRACT.encode())
    assert load_protocol(file) == parse_protocol(CONTRACT, "c.toml")
    assert load_protocol(str(file)).text == CONTRACT


def test_a_file_that_cant_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    for name, says in (
        ("none.toml", "there is no protocol file"),
        ("latin.toml", "is not UTF-8 at byte 8"),
        (".", "can't be read"),
        ("a\0b", "there is no protocol file|can't be read"),
    ):
        with pytest.raises(ProtocolError, match=says) as caught:
            load_protocol(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_role_weights_are_read_and_survive_json() -> None:
    protocol = parse_protocol(
        shortest(tables="[consensus.role_weights]\nsenior = 2\ntrainee = 0.5"), "p.toml"
    )
    assert protocol.consensus.role_weights == {"senior": 2.0, "trainee": 0.5}
    again = Protocol.from_dict(json.loads(json.dumps(protocol.to_dict())))
    assert (again, again.sha256) == (protocol, protocol.sha256)
    assert hash(again) == hash(protocol)


def test_a_protocol_without_role_weights_keeps_the_digest_it_always_had() -> None:
    """Computed before the key was known; signed protocols rest on it."""
    protocol = parse_protocol(shortest(), "p.toml")
    assert protocol.sha256 == ("56d2300834185ac36414d759b4b09e87932acf913a87945b8f6ee4857ebe068c")
    assert parse_protocol(shortest(tables="[consensus.role_weights]\nsenior = 1"), "p").sha256 != (
        protocol.sha256
    )


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("role_weights = 2", "[consensus] role_weights is 2; write a table"),
        (
            "role_weights = { senor = 2 }",
            "unknown key 'senor' in [consensus.role_weights]; did you",
        ),
        ("role_weights = { senior = -1 }", "senior is -1; write a weight of 0 or more"),
        ("role_weights = { senior = 0 }", "gives no role a vote"),
        ("role_weights = {}", "gives no role a vote"),
    ],
)
def test_role_weights_that_mean_nothing_are_refused(table: str, says: str) -> None:
    assert says in refusal(shortest(tables=f"[consensus]\n{table}"))


def test_a_protocol_says_whether_slides_are_masked_and_keeps_its_digest_where_it_says_nothing() -> (
    None
):
    silent = parse_protocol(shortest(), "p.toml")
    masked = parse_protocol(shortest(tables="[blinding]\nslides = true"), "p.toml")
    said = parse_protocol(shortest(tables="[blinding]\nslides = false"), "p.toml")
    assert (silent.blinding.slides, masked.blinding.slides) == (False, True)
    assert said.sha256 == silent.sha256 != masked.sha256
    assert Protocol.from_dict(masked.to_dict()) == masked
    assert "blinding" not in silent.to_dict()
    assert "\n[blinding]\nslides = " in template()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("slides = 1", "[blinding] slides is 1; write true or false"),
        ("slide = true", "unknown key 'slide' in [blinding]; did you mean 'slides'?"),
    ],
)
def test_what_is_to_be_masked_must_be_said_clearly(table: str, says: str) -> None:
    assert says in refusal(shortest(tables=f"[blinding]\n{table}"))
