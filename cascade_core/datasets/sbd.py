"""Read annotations of SBD (Hariharan et al., ICCV 2011), from which most training label maps of VOC 2012 come."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE


def read_mat(path: Path, num_classes: int) -> UInt8[np.ndarray, "height width"]:
    """Read the label map in an SBD annotation: the field Segmentation of the structure GTcls.

    Raises:
        UserError: the file is no such MATLAB file, or has other ids than 0 to `num_classes` and 255.
    """
    from scipy.io import loadmat  # slow to import

    try:
        ids = np.asarray(loadmat(path, squeeze_me=True)["GTcls"]["Segmentation"].item())
    except Exception as error:  # loadmat's parser raises many kinds of exceptions
        raise UserError(
            f"{path}: no annotation of SBD ({type(error).__name__}: {error}), expected a MATLAB file with "
            "GTcls.Segmentation; fetch SBD again, and give it with an empty --raw"
        ) from error
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise UserError(
            f"{path}: GTcls.Segmentation is {ids.dtype} of shape {ids.shape}, expected a map of ids"
        )
    strays = np.setdiff1d(np.unique(ids), [*range(num_classes + 1), IGNORE])
    if strays.size:
        raise UserError(f"{path}: ids {strays.tolist()[:10]} are none of 0..{num_classes} and {IGNORE}")
    return ids.astype(np.uint8)
