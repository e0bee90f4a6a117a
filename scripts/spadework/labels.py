"""Labels of spots, as categories."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

UNLABELLED = "unlabelled"


def categorical(labels: pd.Series | NDArray) -> pd.Categorical:
    """Make labels categorical, numbers in numeric order."""
    values = pd.Series(labels).astype(str)
    unique = values.unique()
    numeric = pd.to_numeric(pd.Series(unique), errors="coerce")
    order = unique[np.argsort(numeric)] if numeric.notna().all() else sorted(unique)
    return pd.Categorical(values, categories=list(order))
