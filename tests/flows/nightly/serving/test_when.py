"""When nights are due: as Prefect's own scheduler reckons it; what is no time is refused with what to write."""

from datetime import UTC, datetime

import pytest

from data_specs.errors import SpecError
from flows.nightly.serving.when import next_nights

BEFORE_SUMMER = datetime(2026, 3, 27, 12, tzinfo=UTC)


def test_three_at_night_stays_three_over_a_change_of_the_clock():
    found = next_nights("0 3 * * *", "Europe/Berlin", BEFORE_SUMMER)
    assert [at.astimezone(UTC).strftime("%d %H:%M") for at in found] == ["28 02:00", "29 01:00", "30 01:00"]


@pytest.mark.parametrize(
    ("cron", "timezone", "said"),
    [
        ("0 3 * *", "UTC", "'0 3 \\* \\*' has 4 fields, expected 5: minute hour day-of-month month day-of-week"),
        ("0 0 3 * * *", "UTC", "has 6 fields"),
        ("", "UTC", "has 0 fields"),
        ("61 3 * * *", "UTC", "'61 3 \\* \\* \\*' is no time"),
        ("H 3 * * *", "UTC", "is no time"),
        ("@nightly", "UTC", "is no time"),
        ("0 3 30 2 *", "UTC", "means no time"),
        ("0 3 * * *", "Europe/Berln", "'Europe/Berln' is none; .*did you mean Europe/Berlin"),
        ("0 3 * * *", "../../etc/passwd", "is none"),
    ],
)
def test_what_is_no_time_is_refused_with_what_is_expected(cron, timezone, said):
    with pytest.raises(SpecError, match=said):
        next_nights(cron, timezone, BEFORE_SUMMER)
