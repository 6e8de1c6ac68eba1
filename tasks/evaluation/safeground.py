"""SafeGround's preferences and groups in SQL."""

COSINES = ("ss", "su", "us", "uu")

_PREFERENCE_SQL = {"P_t_s": "ss > su", "P_t_u": "us > uu", "P_v_s": "ss > us", "P_v_u": "su > uu"}
_GROUP_SQL = {
    "Txt_s": "P_v_s AND P_v_u",
    "Img_s": "P_t_s AND P_t_u",
    "PS": "P_t_s AND P_v_s",
    "PU": "P_t_u AND P_v_u",
    "GS": "P_t_s AND P_t_u AND P_v_s AND P_v_u",
}


def preferences_sql() -> str:
    """SQL that adds every preference and group, true where safe is preferred, to the relation `similarities`.

    Source: UWM paper, SafeGround.
    """
    preferences = ", ".join(f"{test} AS {name}" for name, test in _PREFERENCE_SQL.items())
    groups = ", ".join(f"({test}) AS {name}" for name, test in _GROUP_SQL.items())
    return f"SELECT *, {groups} FROM (SELECT *, {preferences} FROM similarities)"
