from decimal import Decimal

import pytest

from data_specs.errors import SpecError
from data_specs.run_config import MethodConfig
from tasks.experiments.grid import grid_points, method_at, parse_axis, parse_values, swept_encoders


def test_a_range_has_no_drift_and_holds_both_ends():
    values = parse_values("0.9:0.995:0.005", "tau")
    assert values == [float(Decimal("0.9") + k * Decimal("0.005")) for k in range(20)]
    assert [repr(value) for value in values[:4]] == ["0.9", "0.905", "0.91", "0.915"]
    assert repr(values[-1]) == "0.995"
    assert [repr(value) for value in parse_values("0.1:0.7:0.1", "tau")] == [f"0.{k}" for k in range(1, 8)]


def test_a_range_ends_at_its_last_value_that_is_not_above_the_end():
    assert parse_values("0.9:0.995:0.02", "tau") == [0.9, 0.92, 0.94, 0.96, 0.98]
    assert parse_values("0.95:0.95:0.01", "tau") == [0.95]


def test_lists_and_ranges_may_be_mixed_and_tau_is_sorted_without_duplicates():
    assert parse_values("0.98, 0.9:0.92:0.01,0.910", "tau") == [0.9, 0.91, 0.92, 0.98]


def test_alpha_keeps_its_order_and_knows_one_zero():
    assert parse_values("-1,0", "alpha") == [-1, 0]
    assert parse_values("0.5,-1:0:0.5,-0,-1.0", "alpha") == [0.5, -1, -0.5, 0]
    assert str(parse_values("-0", "alpha")[0]) == "0.0"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("0.9,x", "tau", "'x' is not a number"),
        ("0.9,,0.95", "tau", "'' is not a number"),
        ("", "alpha", "'' is not a number"),
        ("nan", "alpha", "'nan' is not a number"),
        ("inf", "tau", "'inf' is not a number"),
        ("0", "tau", "0 is out of bounds"),
        ("1", "tau", "1 is out of bounds"),
        ("98", "tau", "98 is out of bounds"),
        ("0.99999999999999999999", "tau", "out of bounds"),
        ("0.9:1:0.05", "tau", "1 is out of bounds"),
        ("-11", "alpha", "-11 is out of bounds, expected -10 to 10"),
        ("0.9:0.95", "tau", "'0.9:0.95' is no range; write START:END:STEP"),
        ("0.95:0.9:0.01", "tau", "never gets from 0.95 to 0.9"),
        ("0.9:0.95:0", "tau", "never gets"),
        ("0.9:0.95:-0.01", "tau", "never gets"),
        ("0.1:0.9:1e-9", "tau", "more than 1000 values"),
    ],
)
def test_values_that_make_no_sense_are_refused_with_what_was_given(text, name, message):
    with pytest.raises(SpecError) as refused:
        parse_values(text, name)
    assert message in str(refused.value)
    assert repr(text) in str(refused.value)


def test_a_step_too_small_for_decimal_ends():
    values = parse_values("0.9:0.9000000000000000000000000000001:0.00000000000000000000000000000001", "tau")
    assert set(values) == {0.9}


def test_the_grid_goes_through_rising_tau_for_each_alpha():
    assert grid_points([0.95, 0.9], [-1, 0]) == [(0.9, -1), (0.95, -1), (0.9, 0), (0.95, 0)]


def test_a_point_s_method_differs_in_tau_and_alpha_of_the_swept_encoders_alone():
    base = MethodConfig()
    at = method_at(base, ["vision"], 0.91, 0.0)
    assert at.text == base.text
    assert (at.vision.tau, at.vision.alpha) == (0.91, 0)
    assert at.vision.model_copy(update={"tau": 0.98, "alpha": -1}) == base.vision
    assert method_at(MethodConfig(text=None), ["vision"], 0.91, 0.0).text is None


def test_encoders_are_those_that_the_run_edits():
    assert swept_encoders("both", MethodConfig()) == ["text", "vision"]
    assert swept_encoders("both", MethodConfig(text=None)) == ["vision"]
    assert swept_encoders("vision", MethodConfig()) == ["vision"]
    with pytest.raises(SpecError, match=r"text is to be swept, but the settings leave it alone \(text: null\)"):
        swept_encoders("text", MethodConfig(text=None))
    with pytest.raises(SpecError, match="encoder is 'audio', expected text, vision or both"):
        swept_encoders("audio", MethodConfig())


def test_the_values_of_an_axis_are_read_by_kind():
    assert parse_axis("scorer", "uwm, random") == ["uwm", "random"]
    assert parse_axis("weight_by_magnitude", "true,false") == [True, False]
    assert parse_axis("limit", "100,all") == [100, None]
    assert parse_axis("seed", "0,1") == [0, 1]


@pytest.mark.parametrize(
    ("axis", "text"), [("weight_by_magnitude", "yes"), ("limit", "1e3"), ("seed", "all"), ("seed", "-1"), ("rule", "")]
)
def test_values_of_another_kind_are_refused(axis, text):
    with pytest.raises(SpecError, match=f"^{axis} "):
        parse_axis(axis, text)


def test_a_point_out_of_bounds_is_refused_also_when_no_text_was_parsed():
    with pytest.raises(SpecError, match=r"sweep: tau: Input should be less than 1, got 98"):
        method_at(MethodConfig(), ["text"], 98, -1)
    with pytest.raises(SpecError, match=r"sweep: alpha: Input should be less than or equal to 10, got 11"):
        method_at(MethodConfig(), ["vision"], 0.5, 11)


def test_points_are_there_once_and_at_least_one_is_needed():
    assert grid_points([0.9, 0.5, 0.9], [-1, 0, -1]) == [(0.5, -1), (0.9, -1), (0.5, 0), (0.9, 0)]
    with pytest.raises(SpecError, match="a sweep needs at least one tau and one alpha"):
        grid_points([], [-1])
