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
    at = [(point["tau"], point["alpha"]) for point in grid_points([0.95, 0.9], [-1, 0])]
    assert at == [(0.9, -1), (0.95, -1), (0.9, 0), (0.95, 0)]


def test_taus_of_each_encoder_are_crossed():
    points = grid_points({"vision": [0.9, 0.8], "text": [0.5, 0.7]}, [-1, 0])
    expected = [(text, vision, alpha) for alpha in (-1, 0) for vision in (0.8, 0.9) for text in (0.5, 0.7)]
    assert [(at["text_tau"], at["vision_tau"], at["alpha"]) for at in points] == expected
    assert all([*at] == ["text_tau", "vision_tau", "alpha"] for at in points)
    assert grid_points({"text": [0.9]}, [-1]) == [{"text_tau": 0.9, "alpha": -1}]
    with pytest.raises(SpecError, match="more than 10,000 points"):
        grid_points({"text": [i / 1000 for i in range(1, 200)], "vision": [i / 1000 for i in range(1, 200)]}, [-1])


def test_each_encoder_is_edited_with_its_own_tau_of_a_point():
    at = method_at(MethodConfig(), ["text", "vision"], {"text_tau": 0.5, "vision_tau": 0.7, "alpha": 0.25})
    assert (at.text.tau, at.vision.tau, at.text.alpha, at.vision.alpha) == (0.5, 0.7, 0.25, 0.25)
    base = MethodConfig()
    assert method_at(base, ["vision"], {"vision_tau": 0.7, "alpha": 0.25}).text == base.text


def test_a_point_s_method_differs_in_tau_and_alpha_of_the_swept_encoders_alone():
    base = MethodConfig()
    at = method_at(base, ["vision"], {"tau": 0.91, "alpha": 0.0})
    assert at.text == base.text
    assert (at.vision.tau, at.vision.alpha) == (0.91, 0)
    assert at.vision.model_copy(update={"tau": 0.98, "alpha": -1}) == base.vision
    assert method_at(MethodConfig(text=None), ["vision"], {"tau": 0.91, "alpha": 0.0}).text is None


def test_encoders_are_those_that_the_run_edits():
    assert swept_encoders("both", MethodConfig()) == ["text", "vision"]
    assert swept_encoders("both", MethodConfig(text=None)) == ["vision"]
    assert swept_encoders("vision", MethodConfig()) == ["vision"]
    with pytest.raises(SpecError, match=r"text is to be swept, but the settings leave it alone \(text: null\)"):
        swept_encoders("text", MethodConfig(text=None))
    with pytest.raises(SpecError, match="encoder is 'audio', expected text, vision or both"):
        swept_encoders("audio", MethodConfig())


def test_encoders_with_taus_of_their_own_are_swept():
    assert swept_encoders("both", MethodConfig(), {"vision": [0.9]}) == ["vision"]
    assert swept_encoders("both", MethodConfig(), {"vision": [0.9], "text": [0.8]}) == ["text", "vision"]
    with pytest.raises(SpecError, match=r"remove --text-tau or that line, or sweep vision"):
        swept_encoders("both", MethodConfig(text=None), {"text": [0.9]})
    with pytest.raises(SpecError, match="encoder 'text' beside taus of each encoder's own"):
        swept_encoders("text", MethodConfig(), {"text": [0.9]})


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
        method_at(MethodConfig(), ["text"], {"tau": 98, "alpha": -1})
    with pytest.raises(SpecError, match=r"sweep: alpha: Input should be less than or equal to 10, got 11"):
        method_at(MethodConfig(), ["vision"], {"tau": 0.5, "alpha": 11})


def test_points_are_there_once_and_at_least_one_is_needed():
    at = [(point["tau"], point["alpha"]) for point in grid_points([0.9, 0.5, 0.9], [-1, 0, -1])]
    assert at == [(0.5, -1), (0.9, -1), (0.5, 0), (0.9, 0)]
    with pytest.raises(SpecError, match="a sweep needs at least one tau and one alpha"):
        grid_points([], [-1])
