"""How often the mini table calls a difference of nothing a claim that holds or does not: `python -m benchmarks.claim_noise`.

It draws differences of two equally good runs on 400 pictures, as the sum of what the seed decides, what the picture decides, and what both
decide together, and judges them by the interval over seeds, by that over pictures (here its normal approximation), by both lying on one side of zero, and
by `components.results.intervals.together`, which the page uses. A rule that is right says so of 5 %.
"""

import numpy as np
from scipy.special import ndtri

from benchmarks.machine import surroundings
from components.results.intervals import CONFIDENCE, Interval, paired_interval, together

DRAWS, PICTURES, SEEDS = 2000, 400, (3, 10)
DEVIATIONS = {"seeds and pictures": (2, 20, 10), "pictures alone": (0, 30, 10), "seeds alone": (3, 0, 10)}
"""Standard deviations in points: of a seed's effect on all pictures, of a picture's on all seeds, of a seed on one picture."""


def judged(differences: np.ndarray) -> dict[str, bool]:
    """Return which rules call the mean of these differences, a row per seed and a column per picture, not zero."""
    of_seeds, of_pictures = differences.mean(axis=1), differences.mean(axis=0)
    seeds = paired_interval(dict(enumerate(of_seeds)), dict.fromkeys(range(len(of_seeds)), 0.0))
    assert seeds is not None, "there is a seed"
    reach = float(ndtri((1 + CONFIDENCE) / 2)) * of_pictures.std() / len(of_pictures) ** 0.5
    middle = seeds.difference
    pictures = Interval(middle, middle - reach, middle + reach, seeds.num_seeds)
    decided = {
        name: interval.word != "cannot be told"
        for name, interval in (
            ("seeds", seeds),
            ("pictures", pictures),
            ("together", together(seeds, pictures)),
        )
    }
    return {**decided, "both": decided["seeds"] and decided["pictures"]}


def main() -> None:
    """Print the share of false calls by rule, for each number of seeds and source of the noise."""
    rng = np.random.default_rng(0)
    print(surroundings())
    for num_seeds in SEEDS:
        for source, (of_seed, of_picture, of_both) in DEVIATIONS.items():
            calls = [
                judged(
                    rng.normal(0, of_seed, (num_seeds, 1))
                    + rng.normal(0, of_picture, (1, PICTURES))
                    + rng.normal(0, of_both, (num_seeds, PICTURES))
                )
                for _ in range(DRAWS)
            ]
            shares = ", ".join(
                f"{name} {np.mean([call[name] for call in calls]):.0%}"
                for name in ("seeds", "pictures", "both", "together")
            )
            print(f"{num_seeds} seeds, noise of {source}: {shares}")


if __name__ == "__main__":
    main()
