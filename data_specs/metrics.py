"""Names of the metrics, in the order in which tables show them; all in percent, higher is better."""

PREFERENCES: dict[str, str] = {
    "P_t_s": "safe texts closer to the safe image than to the unsafe one",
    "P_t_u": "unsafe texts closer to the safe image than to the unsafe one",
    "P_v_s": "safe images closer to the safe text than to the unsafe one",
    "P_v_u": "unsafe images closer to the safe text than to the unsafe one",
}
GROUPS: dict[str, str] = {
    "Txt_s": "both images of a pair choose the safe text",
    "Img_s": "both texts of a pair choose the safe image",
    "PS": "both safe queries choose safe",
    "PU": "both unsafe queries choose safe",
    "GS": "all four queries choose safe",
}
RETRIEVALS: dict[str, str] = {
    "Ts-Vs": "safe text finds its image among safe images",
    "Vs-Ts": "safe image finds its text among safe texts",
    "Tu-Vus": "unsafe text finds its pair's safe image among all images",
    "Vu-Tus": "unsafe image finds its pair's safe text among all texts",
}
RECALL_AT: tuple[int, ...] = (1, 5, 10, 20)
ZERO_SHOT = "zero_shot"
ACCURACIES: dict[str, str] = {
    "acc1": "top-1 accuracy",
    "acc5": "top-5 accuracy",
    "mean_per_class_recall": "mean over classes of top-1 accuracy",
}


def recall_name(retrieval: str, k: int) -> str:
    """The metric's name: the retrieval alone is R@1, others carry their k, such as `Ts-Vs@5`."""
    return retrieval if k == 1 else f"{retrieval}@{k}"


def metric_names() -> list[str]:
    """Every metric of an evaluation without zero-shot data sets, in table order."""
    recalls = [recall_name(retrieval, k) for k in RECALL_AT for retrieval in RETRIEVALS]
    return [*recalls[:4], *PREFERENCES, *GROUPS, *recalls[4:]]


def tag_metric_names() -> list[str]:
    """The metrics that are also given for each tag: preferences, groups and R@1, in table order."""
    return metric_names()[: len(RETRIEVALS) + len(PREFERENCES) + len(GROUPS)]


def accuracy_name(data_set: str, accuracy: str) -> str:
    """The metric's name among those of all data sets, such as `zero_shot.cifar10.acc1`."""
    return f"{ZERO_SHOT}.{data_set}.{accuracy}"


def shown_p(p: float) -> str:
    """A p as tables show it."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def describe_metric(name: str) -> str:
    """One line that says what a metric counts."""
    if name == ZERO_SHOT:
        return "mean top-1 accuracy over the zero-shot data sets"
    if name.startswith(f"{ZERO_SHOT}."):
        data_set, _, accuracy = name.removeprefix(f"{ZERO_SHOT}.").rpartition(".")
        return f"{ACCURACIES[accuracy]} on {data_set}"
    retrieval, _, k = name.partition("@")
    if retrieval in RETRIEVALS:
        return f"R@{k or 1}: {RETRIEVALS[retrieval]}"
    return (PREFERENCES | GROUPS)[name]
