"""Arms of the comparison of losses."""

#: arm -> (eta, lambda_, whether w_loc is measured). The first arm is the default of a
#: configuration.
ARMS = {
    "both": (1.5, 1.5, True),
    "baseline": (0.0, 0.0, False),
    "cls": (1.5, 0.0, False),
    "loc": (0.0, 1.5, True),
    # The control: plain smooth L1 times the w_loc that lambda 1.5 would have. Raising the
    # localization weight alone changes AP, so `loc` must be compared with this arm, too.
    "loc_weight_only": (0.0, 0.0, True),
}
