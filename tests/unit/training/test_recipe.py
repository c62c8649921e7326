"""A recipe is what its YAML and its flags say, and nothing else is understood."""

import re
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.tasks.translation import Recipe as TranslationRecipe
from regard.training import RunDirectory
from regard.training.recipe import option_names, parse_recipe, recipe_of, recipe_values


@dataclass(frozen=True, kw_only=True)
class Oven:
    """Where it is baked.

    Args:
        degrees: How hot, in degrees Celsius.
        fan: Whether the air moves.
        minutes: How long (null: until it is brown).
        rack: Which rack.
    """

    degrees: float = 180.0
    fan: bool = True
    minutes: int | None = None
    rack: Literal["upper", "lower"] = "upper"

    def __post_init__(self) -> None:
        if self.degrees > 300:
            raise ValueError(f"degrees is {self.degrees}, and no oven is hotter than 300")


@dataclass(frozen=True, kw_only=True)
class Cake:
    """A cake.

    Args:
        name: What it is called.
        eggs: How many.
        oven: Where it is baked.
    """

    name: str
    eggs: int = 3
    oven: Oven = field(default_factory=Oven)


@pytest.fixture
def written(tmp_path):
    """Writes a recipe's file."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "cake.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_flags_and_their_defaults():
    assert parse_recipe(Cake, ["--name", "sand"]) == Cake(name="sand")
    given = parse_recipe(Cake, ["--name=sand", "--oven.degrees", "150", "--oven.minutes=41", "--oven.fan=false"])
    assert given == Cake(name="sand", oven=Oven(degrees=150.0, minutes=41, fan=False))


def test_a_file_and_flags_that_win(written):
    config = written("name: sand\neggs: 5\noven:\n  degrees: 160\n  minutes: 41\n  rack: lower\n")
    assert parse_recipe(Cake, [], config=config) == Cake(
        name="sand", eggs=5, oven=Oven(degrees=160.0, minutes=41, rack="lower")
    )
    flags = ["--oven.minutes", "null", "--eggs=7", "--name", "marble"]
    assert parse_recipe(Cake, flags, config=config) == Cake(
        name="marble", eggs=7, oven=Oven(degrees=160.0, rack="lower")
    )


def test_a_run_gives_its_recipe(tmp_path):
    RunDirectory.create(tmp_path / "run", {"task": "baking", "name": "plum", "eggs": 5})
    assert parse_recipe(Cake, ["--eggs", "6"], config=tmp_path / "run") == Cake(name="plum", eggs=6)
    with pytest.raises(ValueError, match=r"is not a run directory: it has no config\.yaml"):
        parse_recipe(Cake, [], config=tmp_path)


def test_an_empty_file_says_nothing(written):
    assert parse_recipe(Cake, ["--name", "sand"], config=written("# to be written\n")) == Cake(name="sand")


def test_a_number_as_yaml_writes_it_and_as_people_do(written):
    config = written("name: sand\noven:\n  degrees: 1.5e2\n")
    assert parse_recipe(Cake, [], config=config).oven.degrees == 150.0
    config = written("name: sand\noven:\n  degrees: 15e1\n")  # a text, for YAML 1.1
    assert parse_recipe(Cake, [], config=config).oven.degrees == 150.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: sand\negs: 5", r"cake\.yaml: unknown key egs; did you mean eggs\?"),
        ("name: sand\noven:\n  degree: 5", r"cake\.yaml: unknown key oven\.degree; did you mean oven\.degrees\?"),
        ("name: sand\nzzz: 5", r"cake\.yaml: unknown key zzz; known are: eggs, name, oven"),
        ("name: sand\n3: 5", r"cake\.yaml: unknown key 3; known are: eggs, name, oven"),
        ("- name: sand", r"cake\.yaml: the file must be a mapping of options, got \[\{'name': 'sand'\}\]"),
        ("sand", r"cake\.yaml: the file must be a mapping of options, got 'sand'"),
        ("name: sand\noven: 180", r"cake\.yaml: oven must be a mapping of options, got 180"),
        ("name: sand\noven:", r"cake\.yaml: oven must be a mapping of options, got None"),
        ("name:", r'cake\.yaml: name must be a text, got None; write it in quotes: name: "\.\.\."'),
        ("name: 1.10", r"cake\.yaml: name must be a text, got 1\.1; write it in quotes"),
        ("name: [a, b]", r"cake\.yaml: name must be a text, got \['a', 'b'\]"),
        ("name: 2026-11-22", r"cake\.yaml: name must be a text, got datetime.date\(2026, 11, 22\)"),
        ("name: sand\neggs: three", r'"eggs": Expected a <class .int.>\. Got value: three'),
        ("name: sand\neggs: 2.5", r'"eggs": Expected a <class .int.>\. Got value: 2\.5'),
        ("name: sand\neggs: 2026-11-22", r'"eggs": Expected a <class .int.>\. Got value: 2026-11-22'),
        ("name: sand\neggs: [3]", r'"eggs": Expected a <class .int.>'),
        ("name: sand\noven:\n  fan: 1", r'"oven\.fan": Expected a <class .bool.>\. Got value: 1'),
        ("name: sand\noven:\n  rack: middle", r'"oven\.rack": Expected a .*upper.*lower.* Got value: middle'),
        ("name: sand\noven:\n  degrees: 301", r"degrees is 301\.0, and no oven is hotter than 300"),
        ("eggs: 5", r"name is missing: give it as --name NAME"),
        ("name: [", r"cake\.yaml is not plain YAML: .*line 1, column 8"),
        ("name: sand\n\teggs: 5", r"cake\.yaml is not plain YAML: .*line 2, column 1"),
        (b"name: s\xe4nd", r"cake\.yaml is not plain YAML: .*can't decode byte 0xe4"),
    ],
)
def test_what_a_file_may_not_say(written, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_recipe(Cake, [], config=written(text))
    assert "\n" not in str(caught.value)


def test_a_file_is_read_and_not_executed(written, tmp_path):
    config = written(f"name: !!python/object/apply:os.mkdir ['{tmp_path / 'executed'}']")
    with pytest.raises(ValueError, match="is not plain YAML: could not determine a constructor"):
        parse_recipe(Cake, [], config=config)
    assert not (tmp_path / "executed").exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"there is no recipe .*bread\.yaml"):
        parse_recipe(Cake, ["--name", "sand"], config=tmp_path / "bread.yaml")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--nam", "sand"], r"unknown flag --nam; did you mean --name\?"),
        (["--oven.degree=150"], r"unknown flag --oven\.degree; did you mean --oven\.degrees\?"),
        (["--qqqqqq", "1"], r"unknown flag --qqqqqq; known are: --eggs, --name, --oven"),
        ([], "name is missing: give it as --name NAME"),
        (["--name"], "argument --name: expected one argument"),
        (["sand"], "name is missing"),
        (["--name", "sand", "cake"], "[Uu]nrecognized arguments: cake"),
        (["--name", "sand", "-x"], "[Uu]nrecognized arguments: -x"),
        (["--name", "sand", "--eggs", "three"], r'"eggs": Expected a <class .int.>\. Got value: three'),
        (["--name", "sand", "--oven.rack=top"], r'"oven\.rack": Expected a .*upper.*lower.* Got value: top'),
    ],
)
def test_what_flags_may_not_say(flags, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_recipe(Cake, flags)
    assert "\n" not in str(caught.value)


cakes = st.builds(
    Cake,
    name=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=17),
    eggs=st.integers(-(10**20), 10**20),
    oven=st.builds(
        Oven,
        degrees=st.floats(max_value=300, allow_nan=False, allow_infinity=False),
        fan=st.booleans(),
        minutes=st.none() | st.integers(0, 97),
        rack=st.sampled_from(["upper", "lower"]),
    ),
)


@settings(max_examples=20)
@given(cakes)
def test_a_recipe_becomes_plain_values_and_comes_back(cake):
    values = recipe_values(cake)
    assert recipe_of(Cake, values, "here") == cake
    assert recipe_of(Cake, yaml.safe_load(yaml.safe_dump(values)), "here") == cake


@pytest.mark.parametrize(
    "name", ["null", "~", "true", "no", "123", "1e3", "", " ", "a: b", "{a: b}", "[1]", "'", "--eggs", "a=b", "#"]
)
def test_a_text_stays_what_it_is(name):
    assert recipe_of(Cake, {"name": name}, "here").name == name
    assert parse_recipe(Cake, [f"--name={name}"]).name == name


def test_where_the_values_come_from_is_named():
    with pytest.raises(ValueError, match=r"^here: unknown key eg; did you mean eggs\?"):
        recipe_of(Cake, {"name": "sand", "eg": 1}, "here")
    with pytest.raises(ValueError, match=r"^here: .*Expected a <class .int.>\. Got value: x"):
        recipe_of(Cake, {"name": "sand", "eggs": "x"}, "here")


def help_of(recipe: type, capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        parse_recipe(recipe, ["--help"], program="regard bake")
    assert stopped.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_describes_every_option_of_every_part(capsys):
    text = help_of(Cake, capsys)
    assert text.startswith("usage: regard bake ")
    for words in ("What it is called. (required", "How many. (type: int, default: 3)", "How hot, in degrees Celsius."):
        assert words in text


def test_help_of_translation_leaves_nothing_undescribed(capsys):
    text = help_of(TranslationRecipe, capsys)
    names = list(option_names(TranslationRecipe))
    assert len(names) > 50
    assert is_dataclass(TranslationRecipe)
    options = text.split("options:")[1]
    values = r"(?:[A-Z0-9_]+|\{[^}]*\}|\[ITEM,\.\.\.\])"
    described = [name for name in names if re.search(rf"--{name} {values}(?:, --{name}\+ {values})? \w", options)]
    assert described == names
    assert "--model " not in options, "a part of a recipe is no option"
