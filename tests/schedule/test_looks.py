from layerbench.report import marks
from layerbench.schedule import looks
from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Placement


def placements(types: list[str]) -> list[Placement]:
    return [Placement(Job.of(f"job {i}", type_, [(1, 1.0 + i)]), 1, 0.0) for i, type_ in enumerate(types)]


def test_eight_types_differ_by_colour_and_by_hatch() -> None:
    found = looks.groups(placements(["a", "b", "lstm", "c", "conv", "d", "fc", "e"]))
    assert [group.label for group in found] == ["conv", "fc", "lstm", "a", "b", "c", "d", "e"]
    for field in ("colour", "tint", "hatch", "pattern"):
        assert len({getattr(group.look, field) for group in found}) == 8
    assert {group.letter for group in found} == {""}


def test_layer_types_look_as_in_every_other_figure() -> None:
    found = {group.label: group.look.colour for group in looks.groups(placements(["x", "lstm", "fc", "conv"]))}
    assert [found[kind] for kind in ("conv", "fc", "lstm")] == [marks.BLUE, marks.ORANGE, marks.GREEN]


def test_eight_types_without_layer_types_differ_too() -> None:
    assert len({group.look for group in looks.groups(placements(list("abcdefgh")))}) == 8


def test_more_types_have_letters() -> None:
    found = looks.groups(placements(list("abcdefghi")))
    assert [group.letter for group in found] == list("ABCDEFGHI")
    assert found[0].key == "A: a"
    assert found[0].named("job 1") == "A: job 1"


def test_too_many_types_are_drawn_as_one_and_the_heaviest_are_kept() -> None:
    types = [f"type {i}" for i in range(100)]
    found = looks.groups(placements(types))
    assert len(found) == looks.MOST
    assert found[-1].label == "77 other types"
    assert found[-1].look == looks.REST
    assert "type 99" in {group.label for group in found}
    assert set(looks.group_of(found)) == set(types)


def test_every_colour_has_one_on_a_dark_ground() -> None:
    dark = looks.dark()
    assert all({look.colour, look.tint} <= set(dark) for look in looks.ALL)
    assert looks.mixed("#ff0000", "#0000ff", 0.5) == "#800080"


def test_labels_are_short_and_harmless() -> None:
    (group,) = looks.groups(placements(["x" * 200 + "\x1b[31m"]))
    assert len(group.label) == 40
    assert group.label.isprintable()
    assert looks.groups(placements([""]))[0].label == "no type"
