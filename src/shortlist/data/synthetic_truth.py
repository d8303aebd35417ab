"""A random generator to a made-up shop's items and users, with the model of what they choose.

It knows tastes and probabilities; events, times and sessions are drawn from it in :mod:`shortlist.data.synthetic`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STAY_PROB = 0.5  # chance that the next event of a session keeps the intent of the one before
NUM_GROUPS = 5
NUM_STYLES = 3  # K, latent dimensions of style
BRANDS = ("Alder", "Brask", "Corvo", "Dune", "Elm", "Fable", "Grove", "Harrow", "Isla", "Juniper", "Kestrel", "Lumen")
COLOURS = ("Amber", "Black", "Blue", "Cream", "Green", "Grey", "Olive", "Plum", "Red", "Rust", "Teal", "White")
COUNTRIES = ("DE", "FR", "GB", "NL", "SE", "US")
AGE_GROUPS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
CATEGORIES = (  # name, median price, materials, things
    ("stationery", 9, "paper linen cork leather", "notebook pencil-case planner folder card-box"),
    ("toys", 18, "wooden felt plush tin", "train puzzle bear robot kite"),
    ("bath", 20, "cotton bamboo linen terry", "towel robe bath-mat sponge headband"),
    ("kitchen", 24, "steel ceramic oak glass", "bowl jug chopping-board mug teapot"),
    ("scarves", 29, "wool silk cashmere mohair", "scarf shawl wrap snood stole"),
    ("garden", 32, "clay zinc teak willow", "planter watering-can trug birdhouse lantern"),
    ("shirts", 38, "cotton linen flannel denim", "shirt blouse tunic polo overshirt"),
    ("bedding", 48, "linen percale satin jersey", "duvet-cover pillowcase sheet quilt bedspread"),
    ("jewellery", 55, "silver brass pearl enamel", "ring necklace bracelet brooch pendant"),
    ("lighting", 60, "brass rattan glass paper", "table-lamp floor-lamp lantern wall-light lampshade"),
    ("sports", 62, "nylon carbon rubber mesh", "racket yoga-mat gym-bag vest skipping-rope"),
    ("knitwear", 68, "wool merino cashmere alpaca", "jumper cardigan vest pullover poncho"),
    ("shoes", 85, "leather suede canvas nubuck", "boots trainers loafers sandals brogues"),
    ("bags", 90, "leather canvas waxed nylon", "backpack tote satchel holdall clutch"),
    ("outdoor", 110, "ripstop down canvas aluminium", "tent sleeping-bag hammock rucksack camp-chair"),
    ("jackets", 130, "denim tweed down suede", "jacket parka coat gilet blazer"),
)


@dataclass(frozen=True, slots=True)
class Truth:
    """The choice model of U users, I items (in the order of the frames), G categories and X days.

    A visitor has an intent, which is a category. A session begins with one drawn from the user's taste; every further
    event keeps the one before with ``STAY_PROB`` and else draws anew. Within the intent an item that is on sale and
    unseen is chosen in proportion to ``affinity * trend``, the exponential of a utility: how style and price level
    suit the user, the item's appeal, and its fashion of the day.
    """

    groups: Ints  # (U,) the taste group that a user varies around
    intents: Floats  # (U, G) probability of a freshly drawn intent
    affinity: Floats  # (U, I) what a user sees in an item on any day
    trend: Floats  # (X, I) what the day adds; 0 before the release
    categories: Ints  # (I,) category of each item, ascending

    def choice_probs(self, users: Ints, *, days: Ints, intents: Ints, seen: Bools) -> Floats:
        """The probability of each item to be a user's next event.

        Exact, the next intent being summed over: an event shows its intent, so all that the past says about the next
        one is in ``intents`` (B,), the category of the event before in the same session, -1 at a session's start.
        ``seen`` (B, I) marks what the user had and will not take again. Returns (B, I).
        """
        starts = np.flatnonzero(np.diff(self.categories, prepend=-1))  # (G',) the categories that have items
        present = self.categories[starts]
        weights = self.affinity[users] * self.trend[days]  # (B, I)
        weights[seen] = 0
        totals = np.add.reduceat(weights, starts, axis=1)  # (B, G')
        fresh = self.intents[users][:, present] * (totals > 0)
        fresh /= np.maximum(fresh.sum(axis=1, keepdims=True), np.float32(1e-30))
        keeps = (present == intents[:, None]) & (totals > 0)
        stay = np.float32(STAY_PROB) * keeps.any(axis=1, keepdims=True)  # (B, 1)
        intent_probs = stay * keeps + (1 - stay) * fresh  # (B, G')
        scale = intent_probs / np.maximum(totals, np.float32(1e-30))
        weights *= np.repeat(scale, np.diff(starts, append=len(self.categories)), axis=1)
        return weights


def make_items(generator: np.random.Generator, items: int, days: int) -> tuple[pl.DataFrame, Floats, Floats]:
    """The items by category, their styles (I, K) and their price levels within the category (I,)."""
    categories = np.sort(generator.integers(len(CATEGORIES), size=items))
    brands, colours = generator.integers(len(BRANDS), size=items), generator.integers(len(COLOURS), size=items)
    brand_styles = generator.normal(size=(len(BRANDS), NUM_STYLES))
    colour_styles = generator.normal(size=(len(COLOURS), NUM_STYLES))
    own_styles = generator.normal(size=(items, NUM_STYLES))
    styles = 0.9 * brand_styles[brands] + 0.4 * colour_styles[colours] + 0.3 * own_styles
    levels = 0.7 * generator.normal(size=len(BRANDS))[brands] + 0.7 * generator.normal(size=items)
    medians = np.asarray([median for _, median, _, _ in CATEGORIES])[categories]
    prices = np.maximum(np.round(medians * np.exp(0.4 * levels) * 2) / 2, 1)
    released = np.where(generator.random(items) < 0.75, 0, generator.integers(0, max(days * 3 // 4, 1), size=items))
    frame = pl.DataFrame(
        {
            "item_id": [f"i{number:04d}" for number in generator.permutation(items) + 1],
            "title": _titles(generator, categories, colours),
            "category": [CATEGORIES[category][0] for category in categories],
            "brand": [BRANDS[brand] for brand in brands],
            "colour": [COLOURS[colour].lower() for colour in colours],
            "price": prices,
            "release_day": released,
        }
    )
    return frame, styles.astype(np.float32), levels.astype(np.float32)


def _titles(generator: np.random.Generator, categories: Ints, colours: Ints) -> list[str]:
    """Readable titles, all different: where colour, material and thing come again, a number follows."""
    used: dict[str, int] = {}
    titles = []
    for category, colour in zip(categories, colours, strict=True):
        _, _, materials, things = CATEGORIES[category]
        title = f"{COLOURS[colour]} {generator.choice(materials.split())} {generator.choice(things.split())}"
        used[title] = used.get(title, 0) + 1
        titles.append(title if used[title] == 1 else f"{title} no. {used[title]}")
    return titles


def make_users(
    generator: np.random.Generator, users: int, days: int, items: pl.DataFrame, styles: Floats, levels: Floats
) -> tuple[pl.DataFrame, Truth]:
    """The users, and with them the choice model."""
    groups = generator.integers(NUM_GROUPS, size=users)
    countries = generator.integers(len(COUNTRIES), size=users)
    ages = np.where(generator.random(users) < 0.6, groups, generator.integers(len(AGE_GROUPS), size=users))
    names = [name for name, *_ in CATEGORIES]
    categories = np.asarray([names.index(name) for name in items["category"]])
    shares = 0.75 * generator.permutation(np.linspace(-1.7, 1.7, len(names)))
    likes = shares + _around(generator, groups, len(names), spread=1.3, own=0.2)  # (U, G)
    tastes = _around(generator, groups, NUM_STYLES, spread=1.0, own=0.2)  # (U, K)
    means = 0.4 * generator.normal(size=(len(COUNTRIES), 1))
    wallets = means[countries] + _around(generator, groups, 1, spread=0.8, own=0.2)  # (U, 1)
    appeal = 1.2 * generator.normal(size=items.height)
    utility = 0.8 * tastes @ styles.T + 0.7 * wallets * levels + appeal  # (U, I)
    released = items["release_day"].to_numpy()
    peaks = released + (days - released) * generator.random(items.height)
    widths = days * generator.uniform(0.08, 0.25, items.height)
    heights = 1.2 * generator.random(items.height)
    clock = np.arange(days + 1)[:, None]  # the last evening's sessions end on the next day
    fashion = heights * np.exp(-0.5 * ((clock - peaks) / widths) ** 2)  # (X, I)
    truth = Truth(
        groups=groups,
        intents=(np.exp(likes) / np.exp(likes).sum(axis=1, keepdims=True)).astype(np.float32),
        affinity=np.exp(utility).astype(np.float32),
        trend=np.where(clock >= released, np.exp(fashion), 0).astype(np.float32),
        categories=categories,
    )
    frame = pl.DataFrame(
        {
            "user_id": [f"u{number:04d}" for number in range(1, users + 1)],
            "age_group": [AGE_GROUPS[age] for age in ages],
            "country": [COUNTRIES[country] for country in countries],
        }
    )
    return frame, truth


def _around(generator: np.random.Generator, groups: Ints, width: int, *, spread: float, own: float) -> Doubles:
    """A vector for each user (U, width): its group's, ``spread`` wide, and a variation of its own."""
    centres = generator.normal(size=(NUM_GROUPS, width))
    return spread * centres[groups] + own * generator.normal(size=(len(groups), width))
