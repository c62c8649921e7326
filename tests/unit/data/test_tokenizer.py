import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data.tokenizer import Tokenizer, Tokenizers
from regard.models.tokens import END, PAD, START, UNKNOWN

CHARACTERS = "abcdefgxyzäöüßéABCДж中文ー.,;:!?()[]{}<>/\\'\"-\u2013\u2014…«»¿%&*@#_+=|~^$0123456789½\t\n\u00a0\u0301"


def sentences(count: int = 307, seed: int = 5) -> list[str]:
    """Some made-up sentences that use every one of CHARACTERS, with words that come back."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefgxyz", k=chance.randint(2, 7))) for _ in range(61)]
    text = [" ".join(chance.choices(words, k=chance.randint(2, 11))) + chance.choice(".!?") for _ in range(count)]
    return [*text, *CHARACTERS]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(sentences(), vocabulary=331)


@given(words=st.lists(st.text(st.sampled_from(CHARACTERS), min_size=1, max_size=11), min_size=1, max_size=7))
def test_decode_is_the_inverse_of_encode(tokenizer: Tokenizer, words: list[str]) -> None:
    text = " ".join(words)
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode(ids) == text
    assert not {PAD, UNKNOWN, START, END} & set(ids)
    assert "".join(tokenizer.tokens(ids)) == "▁" + re.sub(r"\n(?=[^\n])", "\n ", text).replace(" ", "▁")


def test_the_law_holds_inside_a_batch_and_for_nothing(tokenizer: Tokenizer) -> None:
    texts = [*sentences(17), ""]
    assert [tokenizer.decode(ids) for ids in tokenizer.encode(texts)] == texts
    assert tokenizer.encode([]) == []


def test_punctuation_and_digits_stand_alone() -> None:
    tokenizer = Tokenizer.train(["the street.", "a street (street) street, 1987 1987"] * 3, vocabulary=101)
    (ids,) = tokenizer.encode(["street. (street) 1987"])
    assert tokenizer.tokens(ids) == [
        *("▁street", "."),
        *("▁", "(", "street", ")"),
        *("▁", "1", "9", "8", "7"),
    ]


WHOLE = ["#Person1#", "#Person1#s", "<unit>", "(a|b)*"]


def test_strings_that_are_a_word_each_are_one_token_where_they_are_frequent() -> None:
    text = "#Person1#: 5 <unit>, says #Person1#s (a|b)* of (a) or #Person2#."
    tokenizer = Tokenizer.train([text] * 3, vocabulary=257, whole=WHOLE)
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode(ids) == text
    assert tokenizer.tokens(ids) == [
        *("▁#Person1#", ":", "▁", "5", "▁<unit>", ",", "▁says", "▁#Person1#s", "▁(a|b)*", "▁of"),
        *("▁", "(", "a", ")", "▁or", "▁", "#", "Person", "2", "#", "."),
    ]
    assert tokenizer.words("(<unit>)") == ["▁", "(", "<unit>", ")"]


@given(words=st.lists(st.text(st.sampled_from(CHARACTERS), min_size=1, max_size=11), min_size=1, max_size=7))
def test_other_words_are_cut_as_without_them(tokenizer: Tokenizer, with_whole: Tokenizer, words: list[str]) -> None:
    assert with_whole.words(" ".join(words)) == tokenizer.words(" ".join(words))


@pytest.fixture(scope="module")
def with_whole() -> Tokenizer:
    return Tokenizer.train(sentences(), vocabulary=331, whole=["#Person1#"])


def test_strings_that_are_a_word_are_lower_cased_like_the_text() -> None:
    tokenizer = Tokenizer.train(["#ABC# says"] * 3, vocabulary=101, lowercase=True, whole=["#ABC#"])
    assert tokenizer.tokens(tokenizer.encode(["#Abc#"])[0]) == ["▁#abc#"]


@pytest.mark.parametrize("text", ["", "New York"])
def test_a_word_has_no_space(text: str) -> None:
    with pytest.raises(ValueError, match=f"has '{text}', but a word has one character or more and no space"):
        Tokenizer.train(["a"], vocabulary=31, whole=[text])


def test_a_line_begins_with_the_same_token_as_a_word_inside() -> None:
    tokenizer = Tokenizer.train(["the street\nthe street", "street\n\nthe"] * 3, vocabulary=101)
    (ids,) = tokenizer.encode(["the street\nstreet\n\nthe"])
    assert tokenizer.tokens(ids) == ["▁the", "▁street", "\n", "▁street", "\n", "\n", "▁the"]


def test_names_of_special_tokens_in_a_text_are_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = "a </a> <pad> </b>"
    tokenizer.save(tmp_path / "one.json")
    special = ["<s>", "</s>", "<pad>", "<unk>"]
    trained = Tokenizer.train([*special, "abc <s> </s> <pad> <unk>"], vocabulary=53)
    for each in (tokenizer, Tokenizer.load(tmp_path / "one.json"), trained):
        assert each.encode(special)[0] != [START]
        assert not {PAD, START, END} & set(each.encode([text])[0])
    assert [trained.decode(ids) for ids in trained.encode(special)] == special


def test_decode_reads_special_tokens(tokenizer: Tokenizer) -> None:
    (ids,) = tokenizer.encode(["ab cd"])
    assert tokenizer.decode([START, *ids, END, *ids, PAD]) == "ab cd"
    assert tokenizer.decode([*ids, UNKNOWN]) == "ab cd�"
    assert tokenizer.tokens([START, UNKNOWN, END, PAD]) == ["<s>", "<unk>", "</s>", "<pad>"]
    assert tokenizer.encode(["ж☃"])[0][-1] == UNKNOWN
    with pytest.raises(ValueError, match=f"token {len(tokenizer)} is outside of this tokenizer"):
        tokenizer.decode([len(tokenizer)])
    with pytest.raises(ValueError, match="token -1 is outside"):
        tokenizer.tokens([-1])


@given(words=st.lists(st.text(st.sampled_from("abxyz<é☃🤮\u0416"), min_size=1, max_size=7), min_size=1, max_size=5))
def test_what_is_unknown_is_spelled_as_in_the_text(words: list[str]) -> None:
    tokenizer = Tokenizer.train(["ab yx", "x ab zz"], vocabulary=20)
    text = " ".join(words)
    spelled = tokenizer.spelled(text)
    assert "".join(spelled) == "▁" + text.replace(" ", "▁")
    assert len(spelled) == len(tokenizer.encode([text])[0])


def test_training_is_deterministic() -> None:
    texts = sentences(101)
    tokenizer = Tokenizer.train(texts, vocabulary=211).to_json()
    assert Tokenizer.train(iter(texts), vocabulary=211).to_json() == tokenizer
    assert Tokenizer.train(texts[::-1], vocabulary=211).to_json() == tokenizer  # only counts count
    few = Tokenizer.train(texts, vocabulary=97, characters=31).to_json()
    assert Tokenizer.train(texts[::-1], vocabulary=97, characters=31).to_json() == few


def test_lowercase() -> None:
    tokenizer = Tokenizer.train(["Ein Haus, ÄRGER", "ein haus"], vocabulary=67, lowercase=True)
    assert tokenizer.encode(["EIN Haus"]) == tokenizer.encode(["ein haus"])
    assert tokenizer.decode(tokenizer.encode(["ÄRGER, Haus"])[0]) == "ärger, haus"
    assert Tokenizer.from_json(tokenizer.to_json()).encode(["EIN HAUS"]) == tokenizer.encode(["ein haus"])


def test_the_vocabulary_has_room_for_the_characters() -> None:
    texts = ["aaa bbb ccc", "aab", "d"]
    with pytest.raises(ValueError, match=r"no room for the 5 different characters .* set vocabulary=9 or more"):
        Tokenizer.train(texts, vocabulary=8)
    assert len(Tokenizer.train(texts, vocabulary=9)) == 9
    few = Tokenizer.train(texts, vocabulary=8, characters=3)
    assert len(few) == 8
    assert few.decode(few.encode(["abcd"])[0]) == "abc�"
    assert len(Tokenizer.train(texts, vocabulary=997)) < 997
    with pytest.raises(ValueError, match="no text"):
        Tokenizer.train(["", " "], vocabulary=11)


def test_encode_refuses_a_single_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(TypeError, match=r"encode\(\[text\]\)\[0\]"):
        tokenizer.encode("ab cd")


def test_saved_and_loaded_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "one.json")
    loaded = Tokenizer.load(tmp_path / "one.json")
    assert loaded.to_json() == tokenizer.to_json()
    assert len(loaded) == len(tokenizer)
    assert loaded.encode(sentences(13)) == tokenizer.encode(sentences(13))
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


@pytest.mark.parametrize("joint", [True, False])
def test_both_tokenizers_travel_in_one_file(tmp_path: Path, joint: bool) -> None:
    english, german = ["a house", "a house in a town"], ["ein Haus", "ein Haus in einer Stadt"]
    pair = Tokenizers.train(english, german, vocabulary=59, joint=joint)
    pair.save(tmp_path / "tokenizer.json")
    loaded = Tokenizers.load(tmp_path / "tokenizer.json")
    assert loaded.joint is pair.joint is joint
    assert loaded.source.encode(english) == pair.source.encode(english)
    assert loaded.target.encode(german) == pair.target.encode(german)
    assert (UNKNOWN in loaded.source.encode(["Stadt"])[0]) is not joint
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    assert (content["version"], content["joint"], content["target"] is None) == (1, joint, joint)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda text: text[:997], r"tokenizer.json is damaged \(.*train again"),
        (lambda text: "[]", 'is damaged .it lacks "version"'),
        (lambda text: "", "is damaged"),
        (
            lambda text: text.replace('"version": 1', '"version": 2', 1),
            "version 2, but this release reads",
        ),
        (
            lambda text: text.replace("</s>", "<end>"),
            "is damaged .token 3 of a tokenizer must be '</s>', not '<end>'",
        ),
        (lambda text: text.replace('"BPE"', '"PBE"'), r"is damaged \(not a tokenizer"),
        (lambda text: text.replace('"joint": true', '"joint": false'), r"is damaged \(not a tokenizer"),
    ],
)
def test_a_damaged_file_is_named(tokenizer: Tokenizer, tmp_path: Path, damage, match: str) -> None:
    path = tmp_path / "tokenizer.json"
    Tokenizers(tokenizer, tokenizer).save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match=match):
        Tokenizers.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no tokenizer at .*tokenizer.json"):
        Tokenizer.load(tmp_path / "tokenizer.json")
