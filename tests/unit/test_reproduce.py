"""Recipes: read with care, run on their own splits, written beside the published figures."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from shortlist.cli import app
from shortlist.errors import SettingsError
from shortlist.reproduce import read_parts, read_recipe, reproduce

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
LAST_OUT = """
title = "small"
seeds = [0, 1]
[data]
events = "events.txt"
format = "user_items"
[protocol]
negatives = 5
[model]
type = "sasrec"
embedding_dim = 8
history = 6
[training]
epochs = 2
[[published]]
model = "another"
source = "somewhere"
figures = { "ndcg@10" = 0.5 }
"""
SESSIONS = """
title = "sessions"
[data]
events = "train.txt"
test = "test.txt"
[protocol]
split = "sessions"
metrics = ["hr@2", "mrr@2"]
exclude_seen = false
valid = 0.25
refit = true
[model]
type = "gru4rec"
hidden = [8]
negatives = 4
[training]
epochs = 1
metric = "mrr@2"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = random.Random(0)
    users = [[f"u{user}", *(str(draw.randrange(1, 30)) for _ in range(8))] for user in range(40)]
    (tmp_path / "events.txt").write_text("\n".join(" ".join(line) for line in users))
    (tmp_path / "train.txt").write_text("1 2 3\n2 3\n3 1 2\n1 3\n")
    (tmp_path / "test.txt").write_text("1 2\t3\n1\t2\n3\t1\n1\t2\n")  # sessions 1 2 3, 3 1 and 1 2, by their prefixes
    return tmp_path


def _recipe(folder: Path, text: str) -> Path:
    path = folder / "small.toml"
    path.write_text(text)
    return path


def test_a_recipe_gives_figures_beside_the_published_ones(folder: Path) -> None:
    path = _recipe(folder, LAST_OUT)
    done = CliRunner().invoke(app, ["reproduce", str(path), "--data", str(folder)], catch_exceptions=False)
    assert "another (somewhere)" in done.output
    result = json.loads((folder / "results" / "small.json").read_text())
    assert result["command"] == f"shortlist reproduce {path} --data DIR"
    assert [run["seed"] for run in result["runs"]] == [0, 1]
    values = [run["test"]["ndcg@10"]["value"] for run in result["runs"]]
    assert result["mean"]["ndcg@10"] == pytest.approx(sum(values) / 2, abs=1e-4)
    assert all("sampled" in run["protocol"] and run["validation"] and run["minutes"] >= 0 for run in result["runs"])
    assert all({"cpu", "torch", "date", "threads"} <= set(run["machine"]) for run in result["runs"])


def test_runs_of_other_seeds_are_kept_while_the_settings_are_the_same(folder: Path) -> None:
    def seeds(text: str, *options: str) -> list[int]:
        path = _recipe(folder, text)
        CliRunner().invoke(app, ["reproduce", str(path), "--data", str(folder), *options], catch_exceptions=False)
        return [run["seed"] for run in json.loads((folder / "results" / "small.json").read_text())["runs"]]

    assert seeds(LAST_OUT, "--seed", "2") == [2]
    assert seeds(LAST_OUT, "--seed", "1") == [1, 2]
    assert seeds(LAST_OUT.replace("epochs = 2", "epochs = 1"), "--seed", "1") == [1]


def test_the_same_seed_gives_the_same_figures(folder: Path) -> None:
    recipe = read_recipe(_recipe(folder, LAST_OUT))
    first, again = (reproduce(recipe, folder, seeds=[3])["runs"][0] for _ in range(2))
    assert first["test"] == again["test"]
    assert first["seed"] == 3


def test_sessions_are_tested_at_every_prefix(folder: Path) -> None:
    recipe = read_recipe(_recipe(folder, SESSIONS))
    found = read_parts(recipe, folder)
    assert len(found.train.events) == 8
    assert len(found.whole.events) == 10
    assert len(found.valid.targets()) == 1
    assert found.test.targets().lengths.tolist()[-3:] == [2, 1, 1]
    (run,) = reproduce(recipe, folder)["runs"]
    assert set(run["test"]) == {"hr@2", "mrr@2"}


RATINGS = """
title = "ratings"
[data]
events = "base.csv"
test = "test.csv"
items = "items.csv"
schema = { timestamp = "" }
[protocol]
split = "files"
metrics = ["rmse", "mae"]
valid = 0.2
refit = true
[model]
type = "mf"
embedding_dim = 4
loss = "mse"
[training]
epochs = 2
metric = "rmse"
"""


def test_ratings_are_tested_on_a_file_of_any_time_and_of_items_that_training_lacks(folder: Path) -> None:
    draw = random.Random(1)
    lines = [f"{user},{item},{draw.randrange(1, 6)},{draw.randrange(1000)}" for user in range(9) for item in range(7)]
    header = "user_id,item_id,rating,timestamp"
    (folder / "base.csv").write_text("\n".join([header, *lines[::2]]))
    (folder / "test.csv").write_text("\n".join([header, *lines[1::2], "3,99,4,5"]))
    (folder / "items.csv").write_text("item_id,colour\n" + "\n".join(f"{item},c{item % 2}" for item in (*range(7), 99)))
    recipe = read_recipe(_recipe(folder, RATINGS))
    found = read_parts(recipe, folder)
    assert (len(found.whole.events), len(found.valid.targets()), len(found.test.targets())) == (32, 6, 32)
    assert len(found.train.targets()) == 26
    (run,) = reproduce(recipe, folder)["runs"]
    assert set(run["test"]) == {"rmse", "mae"}


def test_a_solved_model_has_no_epochs(folder: Path) -> None:
    text = LAST_OUT.partition("[model]")[0] + '[model]\ntype = "als"\nembedding_dim = 4\n'
    run = reproduce(read_recipe(_recipe(folder, text)), folder)["runs"][0]
    assert run["best_epoch"] is None
    assert 0 <= run["test"]["ndcg@10"]["value"] <= 1


NCF = """
title = "ncf"
[data]
events = "ncf.train.rating"
test = "ncf.test.rating"
negatives = "ncf.test.negative"
[protocol]
metrics = ["hr@2"]
negatives = 4
refit = true
CHOSEN
[model]
type = "neu_mf"
factors = 4
layers = [8, 4]
[training]
epochs = 2
metric = "hr@2"
[initial.gmf]
model = { type = "neu_mf", paths = "gmf", factors = 4 }
training = { epochs = 1, metric = "hr@2" }
[initial.mlp]
model = { type = "neu_mf", paths = "mlp", layers = [8, 4] }
training = { epochs = 1, metric = "hr@2" }
"""


@pytest.mark.parametrize("chosen_on", ["validation", "test"])
def test_ncfs_files_give_each_users_last_event_and_what_it_is_ranked_among(folder: Path, chosen_on: str) -> None:
    """Users 0 to 9 met the items u, u+1, u+2 (in the order of the last column), and next u+3 among 5, 6, 7 and 99."""
    known = [f"{user}\t{user + step}\t1\t{step}" for user in range(10) for step in (2, 0, 1)]
    (folder / "ncf.train.rating").write_text("\n".join(known))
    (folder / "ncf.test.rating").write_text("\n".join(f"{user}\t{user + 3}\t1\t9" for user in range(10)))
    (folder / "ncf.test.negative").write_text("\n".join(f"({user},{user + 3})\t5\t6\t7\t99" for user in range(10)))
    recipe = read_recipe(_recipe(folder, NCF.replace("CHOSEN", f'chosen_on = "{chosen_on}"')))
    found = read_parts(recipe, folder)
    decode = found.test.encoders.items.decode
    assert decode(found.test.targets().items).tolist() == list(range(3, 13))
    assert decode(found.valid.targets().items).tolist() == list(range(2, 12))
    assert len(found.whole.targets()) == 30
    assert found.negatives is not None
    assert found.negatives[1].tolist() == [*(found.test.encoders.items.encode([5, 6, 7])), 0]
    (run,) = reproduce(recipe, folder)["runs"]
    assert ("chosen on the test part" in run["protocol"]) == (chosen_on == "test")
    assert 0 <= run["test"]["hr@2"]["value"] <= 1


def test_rows_of_files_are_judged_by_their_labels(folder: Path) -> None:
    text = """
title = "rows"
[data]
events = "a.csv"
valid = "b.csv"
test = "c.csv"
schema = { label = "click" }
[protocol]
split = "files"
metrics = ["auc", "logloss"]
[model]
type = "deep_fm"
hidden = [4]
[training]
epochs = 20
batch_size = 8
learning_rate = 0.05
metric = "logloss"
"""
    for name in "abc":
        (folder / f"{name}.csv").write_text("click,colour\n" + "1,red\n0,blue\n" * 10 + "1,blue\n0,red\n")
    (run,) = reproduce(read_recipe(_recipe(folder, text)), folder)["runs"]
    assert run["test"]["auc"]["value"] > 0.85  # 0.909 at best, and less where equal rows differ in their last bit
    assert set(run["test"]) == {"auc", "logloss"}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('title = "small"', 'titel = "small"', r"no setting 'titel'.*Did you mean 'title'"),
        ("embedding_dim", "embeding_dim", r"no setting 'embeding_dim'.*Did you mean 'embedding_dim'"),
        ("negatives = 5", "negatves = 5", r"protocol has no setting 'negatves'"),
        ('type = "sasrec"', 'type = "sasrek"', r"no 'sasrek'.*Did you mean 'sasrec'"),
        ("[model]", "[retriever]", r"no setting 'retriever'"),
        ('title = "small"', "title = ", r"is not TOML"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(before: str, after: str, message: str, folder: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        read_recipe(_recipe(folder, LAST_OUT.replace(before, after)))


def test_the_recipes_of_the_project_can_be_read_and_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in RECIPES.glob("*.toml"):
        assert read_recipe(path).published, path.name
    monkeypatch.chdir(RECIPES.parent)
    listed = CliRunner().invoke(app, ["reproduce"], catch_exceptions=False)
    assert "sasrec_ml_1m_authors.toml" in listed.output


TABLES = """
title = "tables"
[data]
events = "events.csv"
items = "items.csv"
users = "users.csv"
min_item_events = 3
[model]
type = "two_tower"
embedding_dim = 4
hidden = []
negatives = 4
[training]
epochs = 1
"""


def test_a_last_event_is_ranked_among_the_items_with_enough_events_by_what_tables_say_of_them(folder: Path) -> None:
    kept = [f"{user},{item}" for user in range(9) for item in (1 + user % 2, 3, 4, 5)]
    (folder / "events.csv").write_text("\n".join(["user_id,item_id", *kept, "0,77", "1,77"]))
    (folder / "items.csv").write_text(
        "item_id,colour\n" + "\n".join(f"{item},c{item % 2}" for item in (1, 2, 3, 77, 99))
    )
    (folder / "users.csv").write_text("user_id,town\n" + "\n".join(f"{user},t{user % 3}" for user in range(9)))
    recipe = read_recipe(_recipe(folder, TABLES))
    found = read_parts(recipe, folder)
    assert found.train.encoders.items.ids.tolist() == [1, 2, 3, 4, 5]
    assert [(feature.owner, feature.name) for feature in found.train.schema.features] == [
        ("item", "colour"),
        ("user", "town"),
    ]
    assert len(found.train.events) == 18
    assert reproduce(recipe, folder)["runs"][0]["test"]
