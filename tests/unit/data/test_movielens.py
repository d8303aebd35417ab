from __future__ import annotations

import polars as pl
import pytest

from shortlist.data import read_dataset, read_movielens
from shortlist.data.movielens import is_movielens
from shortlist.errors import DataError, SchemaError


def test_genres_and_year_come_from_u_item(data_dir):
    table = read_movielens(data_dir / "movielens-100k" / "u.item", role="items")
    movies = {row["item_id"]: row for row in table.frame.to_dicts()}
    assert len(movies) == 1682
    assert movies[1] == {
        "item_id": 1,
        "title": "Toy Story (1995)",
        "genres": ["Animation", "Children's", "Comedy"],
        "year": 1995,
    }
    assert movies[267]["year"] is None  # it is called "unknown", and so is its genre
    assert movies[267]["genres"] == []
    assert table.notes == ("u.item: read as Latin-1, because it is not UTF-8",)


def test_users_of_both_releases_have_the_same_columns(data_dir):
    old = read_movielens(data_dir / "movielens-100k" / "u.user", role="users")
    new = read_movielens(data_dir / "movielens-1m" / "users.dat", role="users")
    assert old.frame.row(0, named=True) == {
        "user_id": 1,
        "age": 24,
        "gender": "M",
        "occupation": "technician",
        "zip_region": "8",
    }
    assert new.frame.row(0, named=True) == {"user_id": 1, "gender": "F", "age": 1, "occupation": 10, "zip_region": "4"}
    assert {feature.name: feature.kind for feature in old.features}["age"] == "numeric"
    assert {feature.name: feature.kind for feature in new.features}["age"] == "categorical"  # seven groups


def test_movielens_100k_is_read_whole(data_dir):
    folder = data_dir / "movielens-100k"
    dataset = read_dataset(folder / "u.data", items=folder / "u.item", users=folder / "u.user")
    assert (len(dataset.events), dataset.num_users, dataset.num_items) == (100_000, 943, 1682)
    raw = pl.read_csv(
        folder / "u.data", separator="\t", has_header=False, new_columns=["user", "item", "rating", "time"]
    )
    mine = raw.filter(pl.col("user") == 196).sort("time", maintain_order=True)
    row = int(dataset.encoders.users.encode([196])[0])
    span = slice(int(dataset.events.offsets[row]), int(dataset.events.offsets[row + 1]))
    assert dataset.encoders.items.decode(dataset.events.items[span].numpy()).tolist() == mine["item"].to_list()
    assert dataset.events.times[span].tolist() == mine["time"].to_list()
    assert dataset.events.ratings[span].tolist() == mine["rating"].to_list()
    assert dataset.encoders.titles[0] == "Toy Story (1995)"
    assert len(dataset.item_features) == 1683
    assert "u.data: read as MovieLens' events" in dataset.notes


def test_movielens_1m_without_all_times_goes_by_position(data_dir):
    folder = data_dir / "movielens-1m"
    dataset = read_dataset(folder / "ratings.csv", items=folder / "movies.dat", users=folder / "users.dat")
    assert (len(dataset.events), dataset.num_users) == (1_000_209, 6040)
    assert int((dataset.events.item_counts() > 0).sum()) == 3706
    assert dataset.num_items == 3883
    assert dataset.events.times is None
    assert dataset.schema.timestamp is None
    assert any("have no timestamp, so it is not used and 'position' orders them" in note for note in dataset.notes)
    assert any("177 of 3,883 items have no event; they are kept" in note for note in dataset.notes)


def test_movielens_1m_users_with_times_are_ordered_alike_by_both(data_dir):
    raw = pl.read_csv(data_dir / "movielens-1m" / "ratings.csv").filter(pl.col("user_id") < 300)
    assert raw["timestamp"].null_count() == 0
    dataset = read_dataset(raw.sample(fraction=1.0, shuffle=True, seed=0), format="movielens")
    expected = raw.sort("user_id", "position")
    assert dataset.encoders.items.decode(dataset.events.items.numpy()).tolist() == expected["item_id"].to_list()
    assert dataset.events.times.tolist() == expected["timestamp"].to_list()


def test_newer_releases_are_known_by_their_header(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,4.5,978300000\n1,20,3.0,978300001\n")
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n10,"American President, The (1995)",Comedy|Drama\n20,Babylon 5,(no genres listed)\n'
    )
    assert is_movielens(tmp_path / "ratings.csv", "events")
    dataset = read_dataset(tmp_path / "ratings.csv", items=tmp_path / "movies.csv")
    assert dataset.schema.item_id == "item_id"
    assert list(dataset.encoders.titles) == ["American President, The (1995)", "Babylon 5"]
    assert dataset.item_features.multi[0].offsets.tolist() == [0, 0, 2, 2]


def test_plain_files_are_not_taken_for_movielens(tmp_path):
    (tmp_path / "ratings.csv").write_text("user,item,rating\n1,2,3\n")
    assert not is_movielens(tmp_path / "ratings.csv", "events")
    assert not is_movielens(pl.DataFrame({"userId": [1]}), "events")
    assert not is_movielens(tmp_path / "u.data", "events")


def test_ratings_dat_is_read(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::1193::5::978300760\n1::661::3::978302109\n")
    frame = read_movielens(tmp_path / "ratings.dat", role="events").frame
    assert frame.to_dicts()[1] == {"user_id": 1, "item_id": 661, "rating": 3, "timestamp": 978302109}


def test_a_file_of_another_kind_is_refused_as_movielens(tmp_path, data_dir):
    (tmp_path / "shop.csv").write_text("shopper,thing\n1,2\n")
    with pytest.raises(
        SchemaError,
        match=r"shop\.csv is not MovieLens' events: it has no column 'item_id'\. Columns found: shopper, thing",
    ):
        read_movielens(tmp_path / "shop.csv", role="events")
    with pytest.raises(DataError, match=r"u\.user has 5 columns, and MovieLens' events have 4"):
        read_movielens(data_dir / "movielens-100k" / "u.user", role="events")
