import inspect

import pytest

from layerbench import errors

CLASSES = [
    member for _, member in inspect.getmembers(errors, inspect.isclass) if issubclass(member, errors.LayerbenchError)
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_module_shows_every_class_at_its_place_in_the_tree(cls):
    depth = len(cls.__mro__) - len(errors.LayerbenchError.__mro__)
    line = f"{'    ' * depth}* {cls.__name__}: "
    assert line in errors.__doc__, f"the tree in errors.py lacks {line!r}"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_says_what_it_is_for(cls):
    assert cls.__dict__.get("__doc__")


@pytest.mark.parametrize(
    ("cls", "code"),
    [
        (errors.LayerbenchError, 1),
        (errors.MeasurementError, 1),
        (errors.LaunchError, 1),
        (errors.UsageError, 2),
        (errors.SuiteError, 2),
        (errors.StoreError, 2),
        (errors.UnavailableError, 3),
    ],
)
def test_exit_codes(cls, code):
    assert cls.exit_code == code
    assert cls("a line").exit_code == code


def test_a_layer_error_names_its_field():
    error = errors.LayerError("stride", "must be at least 1, not 0")
    assert (error.field, error.problem) == ("stride", "must be at least 1, not 0")
    assert str(error) == "stride: must be at least 1, not 0"
    assert error.exit_code == 2
