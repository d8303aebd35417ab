from __future__ import annotations

import gzip

import polars as pl
import pyarrow as pa
import pytest

from shortlist.data import read_table
from shortlist.errors import DataError

EVENTS = pl.DataFrame({"user_id": [1, 1, 2], "item_id": ["a", "b", "a"], "rating": [4.5, 3.0, 1.0]})


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_the_separator_of_a_text_file_is_found(tmp_path, separator):
    EVENTS.write_csv(tmp_path / "events.csv", separator=separator)
    assert read_table(tmp_path / "events.csv").frame.equals(EVENTS)


@pytest.mark.parametrize(
    "name", ["events.parquet", "events.arrow", "events.feather", "events.csv.gz", "folder", "no_suffix"]
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        EVENTS[:2].write_parquet(path / "part-0.parquet")
        EVENTS[2:].write_parquet(path / "part-1.parquet")
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(EVENTS.write_csv().encode()))
    elif name.endswith(("arrow", "feather")):
        EVENTS.write_ipc(path)
    else:
        EVENTS.write_parquet(path)
    assert read_table(path).frame.equals(EVENTS)
    assert read_table(str(path)).frame.equals(EVENTS)


def test_polars_and_arrow_frames_give_the_same_rows():
    for source in (EVENTS, EVENTS.lazy(), EVENTS.to_arrow(), EVENTS.to_arrow().to_batches()[0]):
        assert read_table(source).frame.equals(EVENTS)
    assert isinstance(EVENTS.to_arrow(), pa.Table)


def test_a_pandas_frame_gives_the_same_rows_without_its_index():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(EVENTS.to_dict(as_series=False), index=[7, 8, 9])
    assert read_table(frame).frame.equals(EVENTS)


def test_latin_1_is_read_and_noted(tmp_path):
    path = tmp_path / "items.csv"
    path.write_bytes("item_id,title\n1,Amélie\n2,Ça\n".encode("latin-1"))
    table = read_table(path)
    assert table.frame["title"].to_list() == ["Amélie", "Ça"]
    assert table.notes == ("items.csv: read as Latin-1, because it is not UTF-8",)


def test_utf_8_and_utf_16_with_a_byte_order_mark_are_read(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "items.csv").write_bytes("item_id,title\n1,Amélie\n".encode(encoding))
        assert read_table(tmp_path / "items.csv").frame.to_dicts() == [{"item_id": 1, "title": "Amélie"}]


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        ("5,9,4,978300000", ["user_id", "item_id", "rating", "timestamp"]),
        ("5,9,3.5", ["user_id", "item_id", "rating"]),
        ("5,9,978300000", ["user_id", "item_id", "timestamp"]),
        ("5 9", ["user_id", "item_id"]),
    ],
)
def test_a_ratings_file_without_header_gets_names_and_a_note(tmp_path, line, columns):
    (tmp_path / "ratings.csv").write_text(f"{line}\n{line}\n")
    table = read_table(tmp_path / "ratings.csv")
    assert table.frame.columns == columns
    assert len(table.frame) == 2
    assert table.notes == (f"ratings.csv: no header line; the columns are taken as {', '.join(columns)}",)


def test_a_ratings_file_with_three_columns_that_may_be_anything_is_refused(tmp_path):
    (tmp_path / "ratings.csv").write_text("5,9,40000\n5,8,123\n")
    with pytest.raises(
        DataError, match=r"three columns, and the third \(40000, …\) may be ratings or timestamps. Add a header line"
    ):
        read_table(tmp_path / "ratings.csv")


def test_a_file_of_numbers_with_many_columns_and_no_header_is_refused(tmp_path):
    (tmp_path / "numbers.csv").write_text("1,2,3,4,5\n")
    with pytest.raises(DataError, match="no header line and 5 columns, so nothing says what they are"):
        read_table(tmp_path / "numbers.csv")


def test_a_value_far_down_that_is_no_integer_makes_the_column_text(tmp_path):
    rows = [f"{number},1" for number in range(20_000)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id", *rows, "guest,1"]) + "\n")
    column = read_table(tmp_path / "events.csv").frame["user_id"]
    assert column.dtype == pl.String
    assert column[-1] == "guest"
    assert len(column) == 20_001


def test_a_file_longer_than_a_block_keeps_its_rows_in_order(tmp_path):
    frame = pl.DataFrame({"user_id": range(300_000), "item_id": range(300_000, 0, -1)})
    frame.write_csv(tmp_path / "events.csv")
    table = read_table(tmp_path / "events.csv")
    assert (tmp_path / "events.csv").stat().st_size > 2 * 2**20
    assert table.frame.equals(frame)
    narrowed = table.collect(["item_id"], narrow={"item_id": pl.Int32})
    assert narrowed["item_id"].dtype == pl.Int32
    assert narrowed["item_id"].to_list() == frame["item_id"].to_list()


def test_quoted_fields_keep_separators_and_line_breaks(tmp_path):
    (tmp_path / "items.csv").write_text('item_id,title\n1,"Good, the Bad"\n2,"two\nlines"\n')
    assert read_table(tmp_path / "items.csv").frame["title"].to_list() == ["Good, the Bad", "two\nlines"]


def test_the_last_line_needs_no_line_break_and_windows_ones_are_fine(tmp_path):
    (tmp_path / "events.csv").write_bytes(b"user_id,item_id\r\n1,2\r\n3,4")
    assert read_table(tmp_path / "events.csv").frame.rows() == [(1, 2), (3, 4)]


def test_codes_with_leading_zeros_stay_text(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id\n1,007\n2,123\n")
    table = read_table(tmp_path / "events.csv")
    assert table.frame["item_id"].to_list() == ["007", "123"]
    assert table.notes == ("events.csv: item_id is read as text, because values such as '007' would lose their zeros",)


def test_a_number_that_does_not_fit_a_smaller_type_keeps_the_column_wide(tmp_path):
    large = pl.DataFrame({"user_id": [1, 2**40], "item_id": [1, 2]})
    large.write_csv(tmp_path / "events.csv")
    for source in (large, tmp_path / "events.csv"):
        assert read_table(source).collect(["user_id"], narrow={"user_id": pl.Int32})["user_id"].to_list() == [1, 2**40]


def test_a_missing_file_is_named_with_the_nearest_one(tmp_path):
    EVENTS.write_csv(tmp_path / "events.csv")
    with pytest.raises(
        DataError, match=r"events: there is no file .*event\.csv\. Did you mean 'events\.csv'\? Check the path \(from "
    ):
        read_table(tmp_path / "event.csv")


def test_an_empty_file_is_refused(tmp_path):
    for contents in ("", "\n\n"):
        (tmp_path / "events.csv").write_text(contents)
        with pytest.raises(
            DataError, match=r"events\.csv is empty.* Give a file with a header line and one line for each row"
        ):
            read_table(tmp_path / "events.csv")


def test_a_folder_without_parquet_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no \.parquet files"):
        read_table(tmp_path)


@pytest.mark.parametrize("name", ["events.parquet", "events.arrow"])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"user_id,item_id\n1,2\n" * 10)
    with pytest.raises(DataError, match=f"{name} cannot be read: .*Check that the file is whole"):
        _ = read_table(tmp_path / name).frame


def test_a_line_with_too_many_fields_is_refused(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id\n1,2\n1,2,3\n")
    with pytest.raises(DataError, match=r"events\.csv cannot be read: .*rows have equal columns"):
        _ = read_table(tmp_path / "events.csv").frame


def test_something_that_is_no_table_is_refused():
    with pytest.raises(
        DataError, match=r"items is a builtins\.int\. Give a path .* or a pandas, polars or Arrow frame"
    ):
        read_table(5, name="items")


def test_a_pandas_column_of_mixed_types_is_refused_by_name():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"user_id": pd.Series([1, "x"], dtype=object), "item_id": [1, 2]})
    with pytest.raises(DataError, match=r"events: column 'user_id' mixes int and str\. Cast it to one type first"):
        read_table(frame)


def test_quotes_that_are_part_of_the_text_stay(tmp_path):
    (tmp_path / "items.tsv").write_text('item_id\ttitle\n1\t5" disk\n2\t"odd\n')
    assert read_table(tmp_path / "items.tsv").frame["title"].to_list() == ['5" disk', '"odd']
