import pytest

from data_specs.metrics import describe_metric, metric_names, recall_name
from data_specs.samples import VALID_KEY, member_names, needed_contents
from data_specs.schemas import pair_id


def test_members_carry_their_side_in_a_paired_shard_only():
    assert member_names("text", "safe", paired=True) == ("safe.txt",)
    assert member_names("text", "unsafe", paired=False) == ("txt",)
    assert member_names("vision", "unsafe", paired=True) == (
        "unsafe.jpg",
        "unsafe.jpeg",
        "unsafe.png",
        "unsafe.webp",
    )
    assert member_names("vision", "safe", paired=False)[0] == "jpg"


def test_a_paired_shard_needs_both_sides_and_an_unpaired_one_its_own():
    assert needed_contents(None) == ("safe", "unsafe")
    assert needed_contents("unsafe") == ("unsafe",)


def test_a_pairs_identity_is_its_key_and_its_shards_digest():
    assert pair_id("0123456789abcdef" * 4, "k 1") == "0123456789abcdef/k 1"


@pytest.mark.parametrize("key", ["a", "000001", "a b", "é", "-rf", "$(x)", "'; DROP"])
def test_keys_are_data(key):
    assert VALID_KEY.match(key)


@pytest.mark.parametrize("key", ["", ".", "a.b", "..", "/a", "a\n", "a\x00", ".hidden"])
def test_keys_that_would_split_or_lead_elsewhere_are_invalid(key):
    assert not VALID_KEY.fullmatch(key)


def test_metrics_come_in_table_order_and_each_is_described():
    names = metric_names()
    assert names[:13] == [
        *("Ts-Vs", "Vs-Ts", "Tu-Vus", "Vu-Tus"),
        *("P_t_s", "P_t_u", "P_v_s", "P_v_u"),
        *("Txt_s", "Img_s", "PS", "PU", "GS"),
    ]
    assert sorted(names[13:]) == sorted(
        f"{retrieval}@{k}" for retrieval in ("Ts-Vs", "Vs-Ts", "Tu-Vus", "Vu-Tus") for k in (5, 10, 20)
    )
    assert len({describe_metric(name) for name in [*names, "zero_shot"]}) == len(names) + 1
    assert recall_name("Ts-Vs", 1) == "Ts-Vs"
    assert describe_metric("Ts-Vs") == "R@1: safe text finds its image among safe images"
    assert describe_metric("Ts-Vs@5") == "R@5: safe text finds its image among safe images"
